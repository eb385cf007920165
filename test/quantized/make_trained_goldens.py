#!/usr/bin/env python3
"""Makes trained/: stories (texts.json), and golden logits of examples/tiny-fable with quantized weights, the inputs of quantized layers rounded as
plans round them, in float64 otherwise. With torch, transformers and tokenizers. See README.md.

    test/quantized/make_trained_goldens.py [NAME ...]
"""

import json
import pathlib
import random
import sys
import tempfile

import numpy as np
import tokenizers
import torch
import transformers

import nearest
import packing
import rounded_inputs
import trained

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "goldens"), str(trained.EXAMPLE / "training")]
import corpus  # noqa: E402
import reference  # noqa: E402
import story_grammar  # noqa: E402

STORY_SEED, STORIES = 20000, 3  # none that it was trained on
POSITIONS = 72                  # of the first: more than the 65 tokens that kernels of many tokens take


def stories():
    """Ids of each."""
    rng = random.Random(STORY_SEED)
    tokenizer = tokenizers.Tokenizer.from_file(str(trained.EXAMPLE / "tokenizer.json"))
    texts = [story_grammar.tell(rng, rng.choice(story_grammar.ANIMALS), rng.choice(story_grammar.THINGS)).text for _ in range(STORIES)]
    return [tokenizer.encode(corpus.BOS + text + corpus.END, add_special_tokens=False).ids for text in texts]


def quantized_by(scheme):
    def weights(weight, dtype):
        return torch.tensor(nearest.quantize(weight.tolist(), scheme, dtype), dtype=torch.float64)
    return weights


def in_fp8_blocks(weight, _dtype):
    codes, scales = trained.fp8_blocks(weight.flatten().tolist(), weight.shape)
    values = torch.tensor([packing.e4m3(code) for code in codes], dtype=torch.float64).view(weight.shape)
    n, k = weight.shape
    blocks = torch.tensor(scales, dtype=torch.float64).view(-(-n // trained.BLOCK), -1)
    return values * blocks.repeat_interleave(trained.BLOCK, 0)[:n].repeat_interleave(trained.BLOCK, 1)[:, :k]


def e4m3_blocks(x):
    return rounded_inputs.e4m3(x, trained.BLOCK)


# By model: what becomes of the weight of a projection, and of its input.
GOLDENS = {"tiny_fable_w8": (quantized_by("w8"), rounded_inputs.int8), "tiny_fable_w8_dp4a": (quantized_by("w8"), rounded_inputs.dp4a),
           "tiny_fable_fp8": (quantized_by("fp8"), rounded_inputs.e4m3),
           "tiny_fable_fp8_block": (in_fp8_blocks, e4m3_blocks)}


def projections(model):
    return [module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and name != "lm_head"]


def make_golden(model, folder, ids):
    weights, rounded = GOLDENS[model.name]
    dense = (trained.Trained if model.dtype == "BF16" else trained.TrainedFloat16)(model.name)
    dense.write(folder)
    quantized = reference.load(folder / model.name)
    for module in projections(quantized):
        module.weight.data = weights(module.weight.data, model.dtype)
    exact = reference.logits(quantized, ids)
    for module in projections(quantized):
        module.register_forward_pre_hook(lambda _module, inputs: (rounded(inputs[0]),))
    expected = reference.logits(quantized, ids)
    np.save(HERE / "trained" / f"{model.name}.npy", expected.float().numpy())
    golden = {
        "dtype": {"F16": "float16", "BF16": "bfloat16"}[model.dtype], "ids": ids, "logits": f"{model.name}.npy", "kl_of_transformers_itself": {},
        "kl_of_exact_activations": reference.mean_kl(expected, exact),
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "tokenizers": tokenizers.__version__},
    }
    (HERE / "trained" / f"{model.name}.json").write_text(json.dumps(golden) + "\n")
    print(f"{model.name}: KL of exact activations {golden['kl_of_exact_activations']:.1e}", flush=True)


def main():
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    (HERE / "trained").mkdir(exist_ok=True)
    texts = stories()
    (HERE / "trained" / "texts.json").write_text(json.dumps(texts) + "\n")
    for model in trained.models():
        if len(sys.argv) == 1 or model.name in sys.argv[1:]:
            with tempfile.TemporaryDirectory() as folder:
                make_golden(model, pathlib.Path(folder), texts[0][:POSITIONS])


if __name__ == "__main__":
    main()
