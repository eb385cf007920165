#!/usr/bin/env python3
"""Makes the golden logits of this folder with transformers. See README.md for the format and the versions.

    test/goldens/make_goldens.py --make-model build/release/bin/llm-make-model [NAME ...]

For each configs/NAME.json: llm-make-model writes the weights into a temporary folder, transformers runs them in
float64, and NAME.json and NAME.npy are written. Fails when a switch of the family, left out, would pass the thresholds.
"""

import argparse
import hashlib
import json
import pathlib
import platform
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers
from safetensors import safe_open

import reference
from switches import controls, switches

HERE = pathlib.Path(__file__).resolve().parent
SEED = 20
SHARDED = {"llama31": 3, "qwen3": 2}  # the others are one file
CONTROL_KL = 1e-12
NOTICE_KL = 1e-5                      # 100 times the threshold of 1e-7 (bf16 weights; 1e-8 for float32)
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def make_ids(config, name):
    """One sequence up to the last position, of random ids in which some short pieces come again."""
    generator = np.random.default_rng(sum(map(ord, name)))
    n = config["max_position_embeddings"]
    ids = generator.integers(3, config["vocab_size"], n)
    for _ in range(n // 16):
        source, target = generator.integers(0, n - 4, 2)
        ids[target:target + 4] = ids[source:source + 4]
    ids[0] = config["bos_token_id"]
    return ids.tolist()


def weights_sha256(folder):
    """Over names, in order, and bytes of all tensors: says whether another machine's llm-make-model made the same."""
    tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            tensors.update({key: file.get_tensor(key) for key in file.keys()})
    digest = hashlib.sha256()
    for key in sorted(tensors):
        digest.update(key.encode())
        digest.update(tensors[key].contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def hidden_summary(outputs):
    """Of the residual stream at the last position: after the embedding (layer -1) and after each layer."""
    last = [output[-1] for output in outputs]
    return [{"layer": i - 1, "norm": h.norm().item(), "first_16": h[:16].tolist()} for i, h in enumerate(last)]


def measure(list_changes, folder, ids, expected):
    """{name: mean KL} of every change in list_changes(model), each on a fresh model."""
    out = {}
    for name in list_changes(reference.load(folder)):
        model = reference.load(folder)
        list_changes(model)[name](model)
        out[name] = reference.mean_kl(expected, reference.logits(model, ids))
    return out


def make_golden(name, make_model, folder):
    config_path = HERE / "configs" / f"{name}.json"
    config = json.loads(config_path.read_text())
    shards = SHARDED.get(name, 1)
    command = [make_model, config_path, "-o", folder, "--seed", str(SEED), "--shards", str(shards)]
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)

    ids = make_ids(config, name)
    model = reference.load(folder)
    expected = reference.logits(model, ids)
    dtype_name = config.get("dtype", config.get("torch_dtype"))
    own = {t: reference.mean_kl(expected, reference.logits(reference.load(folder, DTYPES[t]), ids))
           for t in dict.fromkeys(["float32", dtype_name])}
    np.save(HERE / f"{name}.npy", expected.float().numpy())
    golden = {
        "config": f"configs/{name}.json",
        "seed": SEED,
        "shards": shards,
        "dtype": dtype_name,
        "weights_sha256": weights_sha256(folder),
        "ids": ids,
        "logits": f"{name}.npy",
        "hidden_at_last_position": hidden_summary(reference.layer_outputs(model, ids)),
        "attention_score_std": reference.score_std(model, ids),
        "logit_std": expected.std(-1).mean().item(),
        "kl_of_transformers_itself": own,
        "kl_when_left_out": measure(switches, folder, ids, expected),
        "kl_of_controls": measure(controls, folder, ids, expected),
        "versions": {"python": platform.python_version(), "torch": torch.__version__,
                     "transformers": transformers.__version__},
    }
    text = json.dumps(golden, indent=1)
    (HERE / f"{name}.json").write_text(collapse_lists(text) + "\n")
    return golden


def collapse_lists(text):
    """Lists of numbers on one line."""
    out, depth = [], 0
    for line in text.split("\n"):
        stripped = line.strip()
        if depth:
            out[-1] += (" " if stripped not in ("]", "],") and not out[-1].endswith("[") else "") + stripped
        else:
            out.append(line)
        if stripped.endswith("[") and not stripped.startswith('"hidden'):
            depth = 1
        elif stripped in ("]", "],"):
            depth = 0
    return "\n".join(out)


def problems(golden):
    out = [f"{switch}: KL {kl:.1e}" for switch, kl in golden["kl_when_left_out"].items() if not kl >= NOTICE_KL]
    out += [f"{control}: KL {kl:.1e}" for control, kl in golden["kl_of_controls"].items() if abs(kl) > CONTROL_KL]
    if golden["attention_score_std"] < 1:
        out.append(f"attention scores: standard deviation {golden['attention_score_std']:.2f}")
    if golden["logit_std"] < 1:
        out.append(f"logits: standard deviation {golden['logit_std']:.2f}")
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--make-model", required=True, type=pathlib.Path, help="the llm-make-model program")
    parser.add_argument("names", nargs="*", help="default: every file of configs/")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    failed = False
    for name in args.names or sorted(path.stem for path in (HERE / "configs").glob("*.json")):
        with tempfile.TemporaryDirectory() as folder:
            golden = make_golden(name, args.make_model.resolve(), pathlib.Path(folder))
        weakest = min(golden["kl_when_left_out"].items(), key=lambda item: item[1])
        own = ", ".join(f"{t} {kl:.1e}" for t, kl in golden["kl_of_transformers_itself"].items())
        print(f"{name}: scores {golden['attention_score_std']:.2f}, logits {golden['logit_std']:.2f}, "
              f"transformers' own KL: {own}; "
              f"weakest of {len(golden['kl_when_left_out'])}: {weakest[0]} {weakest[1]:.1e}", flush=True)
        for problem in problems(golden):
            print(f"make_goldens: error: {name}: would not be noticed: {problem}", file=sys.stderr)
            failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
