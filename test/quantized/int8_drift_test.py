"""What activations in int8 cost a trained model: mean KL and agreement with the same quantized weights and exact activations, over stories that
examples/tiny-fable was not trained on.

    int8_drift_test.py --llmc LLMC --reference-llmrt LLMRT --llmrt LLMRT --target TARGET --device DEVICE --schemes w8 w4g128
"""

import argparse
import json
import pathlib
import sys
import tempfile

import trained
from quantize_test import logits, mean_kl, run

TEXTS = pathlib.Path(__file__).resolve().parent / "trained" / "texts.json"
VOCAB = 1024
MAX_KL, LEAST_SAME = 5e-4, 0.98


def most_likely(values):
    rows = range(0, len(values), VOCAB)
    return [max(range(VOCAB), key=values[r:r + VOCAB].__getitem__) for r in rows]


class Scorer:
    def __init__(self, llmc, folder):
        self.llmc, self.folder = llmc, pathlib.Path(folder)

    def __call__(self, llmrt, target, device, options):
        """Logits of all texts, one behind the other."""
        plan, ids, out = (self.folder / name for name in ("plan.fb", "ids.json", "logits.npy"))
        run([self.llmc, "compile", trained.EXAMPLE, "-q", "--target", target, "--max-step-tokens", 128, *options, "-o", plan])
        found = []
        for text in json.loads(TEXTS.read_text()):
            ids.write_text(json.dumps(text))
            run([llmrt, "score", plan, "--device", device, "--model-dir", trained.EXAMPLE, "--ids", ids, "-o", out])
            found += logits(out)
        return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--llmc", "--reference-llmrt", "--llmrt", "--target", "--device"):
        parser.add_argument(name, required=True)
    parser.add_argument("--schemes", nargs="+", required=True)
    args = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        score = Scorer(args.llmc, folder)
        for scheme in args.schemes:
            exact = score(args.reference_llmrt, "native", "cpu", ["--quantize", scheme, "--activations", "f32", "--kv-dtype", "f32"])
            found = score(args.llmrt, args.target, args.device, ["--quantize", scheme, "--activations", "int8"])
            kl, pairs = mean_kl(exact, found, VOCAB), list(zip(most_likely(exact), most_likely(found), strict=True))
            same = sum(a == b for a, b in pairs) / len(pairs)
            print(f"{scheme}, {args.target}: {len(pairs)} positions, mean KL {kl:.1e}, same most likely token {100 * same:.2f} %", flush=True)
            failed |= not (0 < kl <= MAX_KL and same >= LEAST_SAME)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
