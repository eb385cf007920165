"""`llmc compile --quantize`: weights equal those of nearest.py bit for bit, whoever made them; logits those of a dense plan of these weights;
what must be refused or warned of.

    quantize_test.py --llmc LLMC --llmrt LLMRT --weights-test quantized_weights_test --out OUT
"""

import argparse
import array
import json
import math
import pathlib
import subprocess
import sys

import checkpoints
import nearest
import packing

CASES = [("w4g128", "BF16"), ("w4g32", "F16"), ("w4g32", "F32"), ("w8", "BF16"), ("w8", "F32"), ("fp8", "F16"), ("fp8", "BF16")]
HEADS = {("w4g32", "F16")}  # with --quantize-head
MAX_KL = 1e-8


def run(command, check=True):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if check and done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done


class DenseModel(checkpoints.Model):
    def __init__(self, scheme, dtype, head):
        super().__init__(f"{scheme}_{dtype.lower()}", None, lambda name, draw: None, dtype=dtype)
        self.scheme, self.head = scheme, head

    def tensors(self):
        dense, plain = super().tensors()
        for name, tensor in plain.items():
            if "_proj" not in name and not (self.head and name == "lm_head.weight"):
                continue
            n, k = tensor.shape
            values = list(array.array("f", tensor.data))
            rows = [values[i * k:(i + 1) * k] for i in range(n)]
            plain[name] = packing.floats(packing.flat(nearest.quantize(rows, self.scheme, self.dtype)), [n, k], "F32")
        return dense, plain

    def write(self, out):
        packed, plain = self.tensors()
        names = {"F16": "float16", "BF16": "bfloat16", "F32": "float32"}
        checkpoints.write_folder(out / f"{self.name}.dense", {**self.config(), "dtype": "float32"}, plain)
        checkpoints.write_folder(out / self.name, {**self.config(), "dtype": names[self.dtype]}, packed)


def logits(path):
    data = path.read_bytes()
    header = 10 + int.from_bytes(data[8:10], "little")
    return array.array("f", data[header:])


def mean_kl(a, b, vocab):
    """Of rows of logits."""
    total, rows = 0.0, len(a) // vocab
    for r in range(rows):
        p, q = a[r * vocab:(r + 1) * vocab], b[r * vocab:(r + 1) * vocab]
        top_p, top_q = max(p), max(q)
        z_p, z_q = sum(math.exp(v - top_p) for v in p), sum(math.exp(v - top_q) for v in q)
        total += sum(math.exp(v - top_p) / z_p * ((v - top_p - math.log(z_p)) - (w - top_q - math.log(z_q))) for v, w in zip(p, q))
    return total / rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llmc", required=True)
    parser.add_argument("--llmrt", required=True)
    parser.add_argument("--weights-test", required=True)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    args = parser.parse_args()
    models, embedded, plans = (args.out / name for name in ("models", "embedded", "plans"))
    for folder in (embedded, plans):
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
    ids = args.out / "ids.json"
    ids.write_text(json.dumps([(7 * i + 3) % checkpoints.VOCAB for i in range(checkpoints.SMALL.positions)]))
    failed = 0
    for scheme, dtype in CASES:
        model = DenseModel(scheme, dtype, (scheme, dtype) in HEADS)
        model.write(models)
        options = ["--quantize", scheme, "--kv-dtype", "f32", "--activations", "f32", "-q"] + (["--quantize-head"] if model.head else [])
        # Projections not merged, so that a weight is a module's.
        run([args.llmc, "compile", models / model.name, *options, "--target", "x86-64-v3", "--weights", "embed", "--disable-pass", "merge-qkv",
             "--disable-pass", "merge-gate-up", "-o", embedded / f"{model.name}.fb"])
        run([args.llmc, "compile", models / model.name, *options, "--target", "native", "-o", plans / f"{model.name}.fb"])
        dense = plans / f"{model.name}.dense.fb"
        run([args.llmc, "compile", models / f"{model.name}.dense", "-q", "--target", "native", "-o", dense])
        scores = {}
        for plan, folder in ((plans / f"{model.name}.fb", models / model.name), (dense, models / f"{model.name}.dense")):
            run([args.llmrt, "score", plan, "--device", "cpu", "--model-dir", folder, "--ids", ids, "-o", plan.with_suffix(".npy")])
            scores[plan] = logits(plan.with_suffix(".npy"))
        kl = mean_kl(*scores.values(), checkpoints.VOCAB)
        print(f"{model.name}: mean KL {kl:.2e} against a dense plan of the same weights")
        failed += not kl <= MAX_KL
    print(run([args.weights_test, "--plans", embedded, "--models", models], check=False).stdout)
    failed += run([args.weights_test, "--plans", embedded, "--models", models], check=False).returncode != 0

    def expect(text, *command):
        nonlocal failed
        done = run(command, check=False)
        if text not in done.stderr:
            failed += 1
            print(f"FAILED: expected '{text}', found: {done.stderr}")

    dense, out = models / "w4g128_bf16", args.out / "refused.fb"
    compile = [args.llmc, "compile", dense, "--target", "x86-64-v3", "-o", out]
    expect("the last group of 128 is shorter", *compile, "--quantize", "w4g128")
    expect("--quantize", *compile, "--quantize", "w5")
    expect("--quantize-head needs --quantize", *compile, "--quantize-head")
    gptq = next(m for m in checkpoints.models() if m.name == "gptq_sym")
    gptq.write(models)
    expect("is quantized already", args.llmc, "compile", models / "gptq_sym", "--target", "x86-64-v3", "-o", out, "--quantize", "w8")
    print("failed" if failed else "passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
