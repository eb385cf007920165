#!/usr/bin/env python3
"""Makes the golden logits of this folder: transformers on the dequantized model, in float64. See README.md.

    test/quantized/make_goldens.py [NAME ...]
"""

import argparse
import json
import pathlib
import sys
import tempfile

import numpy as np
import torch
import transformers

import checkpoints
import rounded_inputs

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "goldens"))
import reference  # noqa: E402

DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32"}
MOST_KL_OF_F16_OPERANDS = 7e-6  # a plan is allowed 1e-5, and rounds queries and probabilities, too
INT8_MODELS = ("gptq", "gptq_8bit_row", "gptq_2bit", "ct_packed_zeros")


def make_int8_golden(model, folder):
    """The logits with the inputs of quantized modules rounded to int8."""
    dense = reference.load(folder / f"{model.name}.dense")
    for name, module in dense.named_modules():
        if isinstance(module, torch.nn.Linear) and (model.lm_head or name != "lm_head"):
            module.register_forward_pre_hook(lambda _module, inputs: (rounded_inputs.int8(inputs[0]),))
    golden = json.loads((HERE / f"{model.name}.json").read_text())
    exact = torch.from_numpy(np.load(HERE / f"{model.name}.npy")).double()
    expected = reference.logits(dense, golden["ids"])
    (HERE / "int8").mkdir(exist_ok=True)
    np.save(HERE / "int8" / f"{model.name}.npy", expected.float().numpy())
    golden["kl_of_exact_activations"] = reference.mean_kl(expected, exact)
    (HERE / "int8" / f"{model.name}.json").write_text(json.dumps(golden) + "\n")
    return golden["kl_of_exact_activations"]


def kl_of_f16_operands(dense, expected, ids):
    """Of rounding to float16 what no plan with float16 operands can do without: weights, inputs, keys and values."""
    rounded = reference.load(dense)
    for name, module in rounded.named_modules():
        if not isinstance(module, torch.nn.Linear):
            continue
        module.weight.data = module.weight.data.half().double()
        module.register_forward_pre_hook(lambda _module, inputs: (inputs[0].half().double(),))
        if name.endswith(("k_proj", "v_proj")):
            module.register_forward_hook(lambda _module, _inputs, output: output.half().double())
    return reference.mean_kl(expected, reference.logits(rounded, ids))


def make_golden(model, folder):
    model.write(folder)
    dense = folder / f"{model.name}.dense"
    generator = np.random.default_rng(sum(map(ord, model.name)))
    ids = generator.integers(3, checkpoints.VOCAB, model.shape.positions).tolist()
    float64 = reference.load(dense)
    expected = reference.logits(float64, ids)
    np.save(HERE / f"{model.name}.npy", expected.float().numpy())
    golden = {
        "dtype": DTYPES[model.dtype],
        "ids": ids,
        "logits": f"{model.name}.npy",
        "attention_score_std": reference.score_std(float64, ids),
        "logit_std": expected.std(-1).mean().item(),
        "kl_of_transformers_itself": {t: reference.mean_kl(expected, reference.logits(reference.load(dense, getattr(torch, t)), ids))
                                      for t in ("float32", DTYPES[model.dtype])},
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    if model.dtype == "F16":
        golden["kl_of_f16_operands"] = kl_of_f16_operands(dense, expected, ids)
    (HERE / f"{model.name}.json").write_text(json.dumps(golden) + "\n")
    return golden


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="default: all")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    failed = False
    for model in checkpoints.models():
        if args.names and model.name not in args.names:
            continue
        with tempfile.TemporaryDirectory() as folder:
            golden = make_golden(model, pathlib.Path(folder))
            if model.name in INT8_MODELS:
                print(f"{model.name}: KL of int8 activations {make_int8_golden(model, pathlib.Path(folder)):.1e}")
        scores, logits = golden["attention_score_std"], golden["logit_std"]
        print(f"{model.name}: scores {scores:.2f}, logits {logits:.2f}, {golden['kl_of_transformers_itself']}", flush=True)
        if scores < 1 or logits < 1:
            print(f"make_goldens: error: {model.name}: too flat to notice mistakes", file=sys.stderr)
            failed = True
        if golden.get("kl_of_f16_operands", 0) > MOST_KL_OF_F16_OPERANDS:
            print(f"make_goldens: error: {model.name}: roundings to float16 alone move the logits by {golden['kl_of_f16_operands']:.1e}", file=sys.stderr)
            failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
