#!/usr/bin/env python3
"""What quantized weights cost: perplexity, and mean KL and agreement with the dense model, on texts that it was not trained on.

    pip install numpy tokenizers
    test/quantized/quality.py [--llmc LLMC] [--llmrt LLMRT] [--model FOLDER] [--target TARGET] [--only OPTIONS] [--activations int8]

The texts are the held-back questions of examples/tiny-fable with their answers, and fables told by its grammar from another seed than that of
training. Perplexity counts the tokens of answers and fables; both figures are of float32
activations, unless --activations says otherwise of the quantized forms.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import tokenizers

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "tiny-fable"
sys.path.insert(0, str(EXAMPLE / "training"))
import corpus  # noqa: E402

FABLE_SEED, FABLES = 20000, 200
SCHEMES = ["--quantize w8", "--quantize fp8", "--quantize w4g32", "--quantize w4g128", "--quantize w4g32 --quantize-head"]


def texts():
    """(text, where what is scored begins), in conversations as the model knows them."""
    import random

    import story_grammar
    for q in json.loads((EXAMPLE / "training" / "held_back.json").read_text()):
        question = corpus.BOS + corpus.USER + q["prompt"] + corpus.END + corpus.ASSISTANT
        yield question, q["answer"] + corpus.END
    rng = random.Random(FABLE_SEED)
    for _ in range(FABLES):
        story = story_grammar.tell(rng, rng.choice(story_grammar.ANIMALS), rng.choice(story_grammar.THINGS))
        yield corpus.BOS, story.text + corpus.END


def log_softmax(x):
    x = x.astype(np.float64)
    x -= x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


class Scorer:
    def __init__(self, args, folder):
        self.args, self.folder = args, pathlib.Path(folder)
        tokenizer = tokenizers.Tokenizer.from_file(str(args.model / "tokenizer.json"))
        self.samples = []
        for question, answer in texts():
            start = len(tokenizer.encode(question, add_special_tokens=False).ids)
            ids = tokenizer.encode(question + answer, add_special_tokens=False).ids
            self.samples.append((ids, start))

    def log_probabilities(self, options, activations="f32"):
        """Of each scored position, in order: [positions, vocabulary]."""
        plan = self.folder / "plan.fb"
        run([self.args.llmc, "compile", self.args.model, "--target", self.args.target, "-q", *options.split(), "--activations", activations,
             "--max-batch", "1", "-o", plan])
        out = []
        for ids, start in self.samples:
            (self.folder / "ids.json").write_text(json.dumps(ids))
            run([self.args.llmrt, "score", plan, "--model-dir", self.args.model, "--device", "cpu", "--ids", self.folder / "ids.json", "-o",
                 self.folder / "logits.npy"])
            out.append(log_softmax(np.load(self.folder / "logits.npy")[start - 1:-1]))
        return np.concatenate(out)

    def targets(self):
        return np.concatenate([ids[start:] for ids, start in self.samples])


def run(command):
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llmc", default=ROOT / "build/release/bin/llmc")
    parser.add_argument("--llmrt", default=ROOT / "build/release/bin/llmrt")
    parser.add_argument("--model", default=EXAMPLE, type=pathlib.Path)
    parser.add_argument("--target", default="native")
    parser.add_argument("--activations", default="f32", help="of the quantized forms")
    parser.add_argument("--only", help="these options of llmc compile instead of all schemes")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scorer = Scorer(args, folder)
        ids = scorer.targets()
        dense = scorer.log_probabilities("")
        print(f"{len(ids)} tokens of {len(scorer.samples)} texts\n\n| weights | perplexity | mean KL | same most likely token |\n|---|---|---|---|")
        for options in [""] + ([args.only] if args.only else SCHEMES):
            found = scorer.log_probabilities(options, args.activations) if options else dense
            perplexity = np.exp(-found[np.arange(len(ids)), ids].mean())
            kl = (np.exp(dense) * (dense - found)).sum(-1).mean()
            same = (found.argmax(-1) == dense.argmax(-1)).mean()
            print(f"| {options or 'dense'} | {perplexity:.4f} | {kl:.2e} | {100 * same:.2f} % |", flush=True)


if __name__ == "__main__":
    main()
