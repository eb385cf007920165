"""Makes the quantized checkpoints of the tests: the same bytes on every machine.

    checkpoints.py OUT [NAME ...]     OUT/NAME: a model folder; OUT/NAME.dense: the same model with its weights dequantized, in float32

Every form that llmc reads is there once at least. Codes, zero points and scales are drawn at random and packed by packing.py.
"""

import argparse
import dataclasses
import json
import pathlib
import random
import struct

import packing
from packing import Draw, Tensor, floats

VOCAB, LAYERS = 64, 2
QUERY_GAIN = 2.0  # attention scores of standard deviation 1 and more


@dataclasses.dataclass
class Shape:
    hidden: int = 64
    inner: int = 192
    head_dim: int = 32
    heads: int = 2
    kv_heads: int = 1
    positions: int = 24

    def modules(self):
        """(outputs, inputs) by name."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "self_attn.q_proj": (queries, self.hidden), "self_attn.k_proj": (keys, self.hidden), "self_attn.v_proj": (keys, self.hidden),
            "self_attn.o_proj": (self.hidden, queries), "mlp.gate_proj": (self.inner, self.hidden), "mlp.up_proj": (self.inner, self.hidden),
            "mlp.down_proj": (self.hidden, self.inner),
        }


SMALL = Shape()
HEADS_OF_64 = Shape(hidden=128, head_dim=64, positions=40)  # what kernels of the emulator are made for; more tokens than those for few take
SHARED_INPUT = {"self_attn.k_proj": "self_attn.q_proj", "self_attn.v_proj": "self_attn.q_proj", "mlp.up_proj": "mlp.gate_proj"}


def dense(draw, dtype):
    values = [[packing.rounded(draw.rng.gauss(0, draw.spread), dtype) for _ in range(draw.k)] for _ in range(draw.n)]
    return {"weight": floats(packing.flat(values), [draw.n, draw.k], dtype)}, values


class Model:
    """One checkpoint. `pack(name, draw)` gives a module's tensors and weights, or None where it is dense."""

    def __init__(self, name, config, pack, dtype="F16", family="llama", bias=False, zero_bias=False, lm_head=False, side_file=None,
                 shape=SMALL, seed=None):
        self.shape, self.seed = shape, seed or name
        self.name, self.pack, self.dtype, self.family, self.bias = name, pack, dtype, family, bias
        self.zero_bias, self.lm_head, self.side_file = zero_bias, lm_head, side_file
        self.quantization = config
        self.orders = {}

    def config(self):
        names = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM"}
        shape = self.shape
        return {
            "architectures": [names[self.family]], "model_type": self.family, "vocab_size": VOCAB, "hidden_size": shape.hidden,
            "intermediate_size": shape.inner, "num_hidden_layers": LAYERS, "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads,
            "head_dim": shape.head_dim, "hidden_act": "silu", "max_position_embeddings": shape.positions, "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0, "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2,
        }

    def tensors(self):
        """(of the checkpoint, dequantized), by name."""
        rng = random.Random(self.seed)
        packed, plain = {}, {}

        def both(name, values, shape, dtype):
            packed[name] = floats(values, shape, dtype)
            plain[name] = floats(values, shape, "F32")

        def vector(name, n, low, high):
            both(name, [packing.rounded(rng.uniform(low, high), self.dtype) for _ in range(n)], [n], self.dtype)

        def module(name, n, k, gain, quantized):
            draw = Draw(rng, n, k, gain / k ** 0.5)
            made = self.pack(name, draw) if quantized else None
            tensors, weights = made or dense(draw, self.dtype)
            packed.update({f"{name}.{suffix}": tensor for suffix, tensor in tensors.items()})
            plain[f"{name}.weight"] = floats(packing.flat(weights), [n, k], "F32")

        hidden = self.shape.hidden
        embedding = [packing.rounded(rng.gauss(0, 1), self.dtype) for _ in range(VOCAB * hidden)]
        both("model.embed_tokens.weight", embedding, [VOCAB, hidden], self.dtype)
        for layer in range(LAYERS):
            prefix = f"model.layers.{layer}."
            for norm in ("input_layernorm", "post_attention_layernorm"):
                vector(prefix + norm + ".weight", hidden, 0.7, 1.3)
            for name, (n, k) in self.shape.modules().items():
                module(prefix + name, n, k, QUERY_GAIN if name[-6] in "qk" else 1.0, True)
                if self.bias and name[-6:] in ("q_proj", "k_proj", "v_proj"):
                    vector(prefix + name + ".bias", n, -0.5, 0.5)
                if self.zero_bias:
                    packed[prefix + name + ".bias"] = floats([0.0] * n, [n], self.dtype)
        vector("model.norm.weight", hidden, 0.7, 1.3)
        module("lm_head", VOCAB, hidden, 2.0, self.lm_head)
        return packed, plain

    def order(self, name, draw, group, shared):
        """A shuffled g_idx; the same for modules with the same input if `shared`."""
        prefix, short = name.split(".", 3)[:3], name.split(".", 3)[3]
        key = (*prefix, SHARED_INPUT.get(short, short) if shared else short)
        if key not in self.orders:
            self.orders[key] = packing.group_of_columns(draw.rng, draw.k, group, True)
        return self.orders[key]

    def write(self, out):
        packed, plain = self.tensors()
        config = self.config()
        write_folder(out / f"{self.name}.dense", {**config, "dtype": "float32"}, plain)
        dtype = {"F16": "float16", "BF16": "bfloat16", "F32": "float32"}[self.dtype]
        inside = {} if self.side_file else {"quantization_config": self.quantization}
        write_folder(out / self.name, {**config, **inside, "dtype": dtype}, packed)
        if self.side_file:
            (out / self.name / self.side_file).write_text(json.dumps(self.quantization))


def write_folder(folder, config, tensors):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name in sorted(tensors):
        t = tensors[name]
        header[name] = {"dtype": t.dtype, "shape": t.shape, "data_offsets": [len(data), len(data) + len(t.data)]}
        data += t.data
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)


def gptq_config(**changes):
    return {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False, "sym": False, "checkpoint_format": "gptq", **changes}


def awq_config(**changes):
    return {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm", **changes}


def ct_config(format, activations=None, **weights):
    weights = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 32, "dynamic": False, **weights}
    group = {"targets": ["Linear"], "weights": weights, "input_activations": activations, "output_activations": None}
    return {"quant_method": "compressed-tensors", "format": format, "config_groups": {"group_0": group}, "ignore": ["lm_head"],
            "quantization_status": "compressed"}


def every(packer, **options):
    return lambda name, draw: packer(draw, **options)


def models():
    list_of = [
        Model("gptq", gptq_config(), every(packing.gptq), zero_bias=True),
        Model("gptq_bias", gptq_config(checkpoint_format="gptq_v2"), every(packing.gptq, v2=True, scale="BF16"), dtype="BF16", family="qwen2", bias=True),
        Model("gptq_sym", gptq_config(sym=True, group_size=64), every(packing.gptq, sym=True, group=64)),
        Model("gptq_sym_misnamed", gptq_config(sym=True), every(packing.gptq, sym=True, v2=True)),
        Model("gptq_2bit", gptq_config(bits=2), every(packing.gptq, bits=2), seed="gptq_2bit3"),
        Model("gptq_3bit", gptq_config(bits=3, group_size=64), every(packing.gptq, bits=3, group=64)),
        Model("gptq_8bit_row", gptq_config(bits=8, group_size=-1), every(packing.gptq, bits=8, group=-1, with_g_idx=False)),
        Model("gptq_partial_group", gptq_config(group_size=128), every(packing.gptq, group=128)),
        Model("gptq_side_file", {k: v for k, v in gptq_config().items() if k != "quant_method"}, every(packing.gptq), side_file="quantize_config.json"),
        Model("awq_gemm", awq_config(), every(packing.awq)),
        Model("awq_gemv", awq_config(version="GEMV", group_size=64), every(packing.awq, group=64, version="gemv")),
        Model("awq_side_file", {"zero_point": True, "q_group_size": 64, "w_bit": 4, "version": "GEMM"}, every(packing.awq, group=64), side_file="quant_config.json"),
        Model("ct_packed", ct_config("pack-quantized"), every(packing.ct_packed), dtype="BF16"),
        Model("ct_packed_zeros", ct_config("pack-quantized", symmetric=False), every(packing.ct_packed, sym=False), dtype="BF16"),
        Model("ct_packed_3bit", ct_config("pack-quantized", num_bits=3), every(packing.ct_packed, bits=3), dtype="BF16"),
        Model("ct_packed_8bit", ct_config("pack-quantized", num_bits=8, strategy="channel", group_size=None), every(packing.ct_packed, bits=8, group=None), dtype="BF16"),
        Model("ct_int8", ct_config("int-quantized", {"num_bits": 8, "dynamic": True, "strategy": "token"}, num_bits=8, strategy="channel", group_size=None), every(packing.ct_int8)),
        Model("ct_fp8_tensor", ct_config("float-quantized", {"num_bits": 8, "type": "float"}, num_bits=8, type="float", strategy="tensor", group_size=None), every(packing.fp8, scale="BF16", input_scale=True), dtype="BF16"),
        Model("ct_fp8_channel", ct_config("float-quantized", num_bits=8, type="float", strategy="channel", group_size=None), every(packing.fp8, per_row=True), dtype="BF16"),
        Model("ct_fp8_block", ct_config("float-quantized", num_bits=8, type="float", strategy="block", block_structure=[128, 128], group_size=None), every(packing.fp8, block=(128, 128)), dtype="BF16"),
        Model("fp8_block", {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}, every(packing.fp8, block=(128, 128), suffix="weight_scale_inv"), dtype="BF16"),
        Model("fp8_tensor", {"quant_method": "fp8", "activation_scheme": "static"}, every(packing.fp8, input_scale=True), dtype="BF16"),
        Model("bnb_nf4", {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, every(packing.bnb4), dtype="BF16"),
        Model("bnb_nf4_nested", {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}, every(packing.bnb4, nested=True), dtype="BF16"),
        Model("bnb_fp4", {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "fp4"}, every(packing.bnb4, kind="fp4", block=32)),
        Model("bnb_nf4_d64", {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}, every(packing.bnb4, nested=True), shape=HEADS_OF_64),
        Model("bnb_fp4_d64", {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "fp4"}, every(packing.bnb4, kind="fp4", block=32), shape=HEADS_OF_64),
        Model("bnb_int8", {"quant_method": "bitsandbytes", "load_in_8bit": True}, every(packing.bnb8)),
    ]

    # Columns in the order of activations: q, k and v with one order, or each with its own, which leaves them unmerged.
    for name, bits, group, shared, shape in (
            ("gptq_act_order", 4, 32, True, SMALL), ("gptq_act_order_apart", 4, 32, False, SMALL),
            ("gptq_act_order_d64", 4, 32, True, HEADS_OF_64), ("gptq_8bit_act_order_d64", 8, 64, False, HEADS_OF_64)):
        model = Model(name, gptq_config(desc_act=True, bits=bits, group_size=group), None, shape=shape)
        model.pack = lambda m, draw, model=model, bits=bits, group=group, shared=shared: packing.gptq(
            draw, bits=bits, group=group, group_of=model.order(m, draw, group, shared))
        list_of.append(model)
    ordered = Model("ct_packed_act_order", ct_config("pack-quantized", actorder="group"), None, dtype="BF16")
    ordered.pack = lambda m, draw: packing.ct_packed(draw, group_of=ordered.order(m, draw, 32, True))
    list_of.append(ordered)

    # Modules that differ: another scheme, none, and a quantized head.
    dynamic = {r"+:model\.layers\.\d+\.mlp\.down_proj": {"bits": 8, "group_size": 64}, r"-:.*\.0\.self_attn\.o_proj": {}}

    def pack_dynamic(name, draw):
        if name.endswith("0.self_attn.o_proj"):
            return None
        return packing.gptq(draw, bits=8, group=64) if name.endswith("down_proj") else packing.gptq(draw)

    list_of.append(Model("gptq_mixed", gptq_config(dynamic=dynamic, lm_head=True), pack_dynamic, lm_head=True))
    mixed = ct_config("pack-quantized")
    mixed["config_groups"]["group_1"] = {"targets": [r"re:.*v_proj$", "model.layers.1.mlp.down_proj"], "format": "float-quantized",
                                         "weights": {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "channel", "dynamic": False}}
    mixed["ignore"] += ["re:.*layers.0.mlp.*"]

    def pack_mixed(name, draw):
        if "layers.0.mlp" in name:
            return None
        as_fp8 = name.endswith("v_proj") or name == "model.layers.1.mlp.down_proj"
        return packing.fp8(draw, per_row=True, scale="BF16") if as_fp8 else packing.ct_packed(draw)

    list_of.append(Model("ct_mixed", mixed, pack_mixed, dtype="BF16"))
    return list_of


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("names", nargs="*", help="default: all")
    args = parser.parse_args()
    for model in models():
        if not args.names or model.name in args.names:
            model.write(args.out)


if __name__ == "__main__":
    main()
