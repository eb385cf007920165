"""Writes a GPTQ checkpoint of the shape of a config.json (Llama or Qwen2 families): 4 bits, groups of 128, symmetric, of seeded random content, for
the times and the memory of a size that no test holds. Content repeats every 8 MB.

    make_gptq_shape.py CONFIG.json OUTDIR [SEED]
"""

import json
import pathlib
import sys

import numpy

GROUP, PER_WORD = 128, 8
BLOCK = 8 << 20


def tensors_of(config):
    """Name, type, shape and kind of content of each tensor."""
    hidden, inter, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    head_dim = config.get("head_dim") or hidden // config["num_attention_heads"]
    queries, keys = config["num_attention_heads"] * head_dim, config["num_key_value_heads"] * head_dim
    yield "model.embed_tokens.weight", "F16", [vocab, hidden], "weight"
    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}."
        for name, rows, columns in [("self_attn.q_proj", queries, hidden), ("self_attn.k_proj", keys, hidden), ("self_attn.v_proj", keys, hidden),
                                    ("self_attn.o_proj", hidden, queries), ("mlp.gate_proj", inter, hidden), ("mlp.up_proj", inter, hidden),
                                    ("mlp.down_proj", hidden, inter)]:
            groups = columns // GROUP
            yield prefix + name + ".qweight", "I32", [columns // PER_WORD, rows], "codes"
            yield prefix + name + ".qzeros", "I32", [groups, rows // PER_WORD], "zeros"
            yield prefix + name + ".scales", "F16", [groups, rows], "scales"
            yield prefix + name + ".g_idx", "I32", [columns], "order"
            if name[-6] in "qkv" and config["model_type"] == "qwen2":
                yield prefix + name + ".bias", "F16", [rows], "weight"
        for norm in ["input_layernorm", "post_attention_layernorm"]:
            yield prefix + norm + ".weight", "F16", [hidden], "norm"
    yield "model.norm.weight", "F16", [hidden], "norm"
    if not config.get("tie_word_embeddings"):
        yield "lm_head.weight", "F16", [vocab, hidden], "weight"


def main():
    config_path, out, seed = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1
    config = json.loads(pathlib.Path(config_path).read_text())
    config |= {"torch_dtype": "float16", "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": GROUP, "desc_act": False, "sym": True}}
    rng = numpy.random.default_rng(seed)
    block = {
        "weight": (rng.standard_normal(BLOCK // 2) * 0.02).astype(numpy.float16),
        "codes": rng.integers(0, 2**32, BLOCK // 4, dtype=numpy.uint32),
        "zeros": numpy.full(BLOCK // 4, 0x77777777, numpy.uint32),
        # Of either sign: codes of 0 to 15 around 8 have a mean, and sums over them would leave float16.
        "scales": (rng.uniform(0.002, 0.006, BLOCK // 2) * rng.choice([-1, 1], BLOCK // 2)).astype(numpy.float16),
        "norm": numpy.ones(BLOCK // 2, numpy.float16),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps(config, indent=2))
    tensors, header, at = list(tensors_of(config)), {}, 0
    for name, dtype, shape, _ in tensors:
        size = int(numpy.prod(shape)) * (4 if dtype == "I32" else 2)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(out / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, _, shape, kind in tensors:
            begin, end = header[name]["data_offsets"]
            content = (numpy.arange(shape[0]) // GROUP).astype(numpy.int32) if kind == "order" else block[kind]
            data = memoryview(content).cast("B")
            for start in range(0, end - begin, len(data)):
                file.write(data[: min(len(data), end - begin - start)])


if __name__ == "__main__":
    main()
