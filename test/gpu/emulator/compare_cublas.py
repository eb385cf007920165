"""Plans of --gemm cublas and --gemm native give the same logits: on the emulator, with a cuBLAS of plain loops."""

import pathlib
import sys
import tempfile

from commands import arguments, largest_difference, make_model, must, read_npy, run

IDS = [(7 * i + 3) % 160 for i in range(40)]  # fewer than the 64 rows of their bucket
LIMIT = 0.005  # of the largest logit: float16 operands are rounded after sums of another order


def main():
    args = arguments(__doc__, "--cublas")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        model, ids = make_model(args, folder, IDS)

        def logits(target, gemm):
            plan, out = folder / f"{target}_{gemm}.fb", folder / f"{target}_{gemm}.npy"
            options = ["--target", target, "--gemm", gemm, "--max-step-tokens", 64, "-q"]
            must([args.llmc, "compile", model, *options, "-o", plan])
            calls = must([args.llmc, "inspect", plan]).count(" cublas ")
            if (calls > 0) != (gemm == "cublas"):
                sys.exit(f"{target} --gemm {gemm}: the plan has {calls} kinds of cuBLAS calls")
            device = [plan, "--device", "cuda", "--model-dir", model]
            score = [args.llmrt, "score", *device, "--ids", ids, "-o", out]
            must(score, LLMRT_CUBLAS=args.cublas if gemm == "cublas" else "/nowhere")
            if gemm == "cublas":
                done = run(score, LLMRT_CUBLAS="/nowhere")
                if done.returncode == 0 or "--gemm native" not in done.stderr:
                    sys.exit(f"without cuBLAS: expected an error with advice, got {done.returncode}: {done.stderr}")
                step = ["--tokens", 64, "--context", 0]
                profile = must([args.llmrt, "profile", *device, *step], LLMRT_CUBLAS=args.cublas)
                if "cublas" not in profile:
                    sys.exit(f"a profile without cuBLAS:\n{profile}")
            return read_npy(out)

        expected = logits("sm_80", "native")
        for target in ["sm_80", "sm_61"]:
            got = logits(target, "cublas")
            worst = largest_difference(got, expected)
            print(f"{target}: largest difference {worst:.5f} of the largest logit")
            if not worst < LIMIT or got == expected:
                sys.exit(f"{target}: the logits differ by more than rounding, or no call was made")


if __name__ == "__main__":
    main()
