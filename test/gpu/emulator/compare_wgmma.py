"""A plan of Hopper's tensor maps and warpgroup products gives the logits of a plan without: on the emulator."""

import pathlib
import sys
import tempfile

from commands import arguments, largest_difference, make_model, must, read_npy

IDS = [(7 * i + 3) % 160 for i in range(100)]  # fewer than the 128 rows of their bucket
LIMIT = 0.005  # of the largest logit: float16 operands are rounded after sums of another order
FAMILIES = ["linear_fused", "linear_glu", "linear_add"]


def main():
    args = arguments(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        model, ids = make_model(args, folder, IDS)

        def logits(target, variant):
            plan, out = folder / f"{target}.fb", folder / f"{target}.npy"
            forced = [w for family in FAMILIES if variant for w in ["--force-variant", f"{family}={variant}"]]
            must([args.llmc, "compile", model, "--target", target, "--max-step-tokens", 128, "-q", "-o", plan, *forced])
            if variant and "linear_wgmma<" not in must([args.llmc, "inspect", plan]):
                sys.exit(f"{target}: the plan has no {variant}")
            must([args.llmrt, "score", plan, "--device", "cuda", "--model-dir", model, "--ids", ids, "-o", out])
            return read_npy(out)

        expected = logits("sm_80", "")
        for variant in ["wgmma_f16_128x128", "wgmma_f16_128x192"]:
            got = logits("sm_90", variant)
            worst = largest_difference(got, expected)
            print(f"{variant}: largest difference {worst:.5f} of the largest logit")
            if not worst < LIMIT or got == expected:
                sys.exit(f"{variant}: the logits differ by more than rounding, or the same kernels ran")


if __name__ == "__main__":
    main()
