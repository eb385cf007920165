"""Plans of --gemm cublas and --gemm native give the same logits: on the emulator, with a cuBLAS of plain loops."""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from commands import read_npy

IDS = [(7 * i + 3) % 160 for i in range(40)]  # fewer than the 64 rows of their bucket
LIMIT = 0.005  # of the largest logit: float16 operands are rounded after sums of another order


def run(words, **variables):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, env={**os.environ, **variables})
    return done.returncode, done.stdout + done.stderr


def must(words, **variables):
    code, output = run(words, **variables)
    if code != 0:
        sys.exit(f"{' '.join(str(w) for w in words)}\n{output}")
    return output


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ["--llmc", "--llmrt", "--make-model", "--cublas", "--config"]:
        parser.add_argument(name, required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        model, ids = folder / "model", folder / "ids.json"
        ids.write_text(json.dumps(IDS))
        must([args.make_model, args.config, "-o", model, "--dtype", "f16", "--seed", 5])

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
                code, output = run(score, LLMRT_CUBLAS="/nowhere")
                if code == 0 or "--gemm native" not in output:
                    sys.exit(f"without cuBLAS: expected an error with advice, got {code}: {output}")
                step = ["--tokens", 64, "--context", 0]
                profile = must([args.llmrt, "profile", *device, *step], LLMRT_CUBLAS=args.cublas)
                if "cublas" not in profile:
                    sys.exit(f"a profile without cuBLAS:\n{profile}")
            return read_npy(out)

        expected = logits("sm_80", "native")
        scale = max(abs(x) for x in expected)
        for target in ["sm_80", "sm_61"]:
            got = logits(target, "cublas")
            worst = max(abs(x - y) for x, y in zip(got, expected, strict=True)) / scale
            print(f"{target}: largest difference {worst:.5f} of the largest logit")
            if not worst < LIMIT or got == expected:
                sys.exit(f"{target}: the logits differ by more than rounding, or no call was made")


if __name__ == "__main__":
    main()
