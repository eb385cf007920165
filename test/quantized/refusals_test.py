"""Checkpoints that llmc must refuse, each with one line that names what is wrong; and those that it reads with a warning.

    refusals_test.py --llmc build/release/bin/llmc
"""

import argparse
import pathlib
import struct
import subprocess
import sys
import tempfile

import checkpoints
from packing import Tensor

Q = "model.layers.0.self_attn.q_proj"
DOWN = "model.layers.1.mlp.down_proj"


def ints(*values):
    return struct.pack(f"<{len(values)}i", *values)


def config(**changes):
    def change(model, _tensors):
        for key, value in changes.items():
            if value is None:
                model.quantization.pop(key, None)
            else:
                model.quantization[key] = value
    return change


def weights_config(**changes):
    def change(model, _tensors):
        model.quantization["config_groups"]["group_0"]["weights"].update(changes)
    return change


def drop(name):
    return lambda _model, tensors: tensors.pop(name)


def replace(name, **changes):
    def change(_model, tensors):
        for key, value in changes.items():
            setattr(tensors[name], key, value)
    return change


def patch(name, offset, data):
    def change(_model, tensors):
        old = tensors[name].data
        tensors[name].data = old[:offset] + data + old[offset + len(data):]
    return change


def add(name, tensor):
    return lambda _model, tensors: tensors.update({name: tensor})


# (checkpoint, change, parts of the message)
REFUSED = [
    ("gptq", config(quant_method="eetq"), ["quant_method", '"eetq"']),
    ("gptq", config(bits=5), ["quantization_config.bits", "found 5", "2, 3, 4, 8"]),
    ("gptq", config(bits=None), ["bits", "missing"]),
    ("gptq", config(group_size=0), ["group_size", "found 0"]),
    ("gptq", config(checkpoint_format="marlin"), ["checkpoint_format", '"marlin"']),
    ("gptq", config(checkpoint_format="gptq_p"), ["checkpoint_format", '"gptq_p"']),
    ("gptq", config(dynamic={"+:.*q_proj": {"rank": 3}}), ["rank", "found 3"]),
    ("gptq", config(dynamic={"+:.*q_proj": {"bits": 7}}), ["bits", "found 7"]),
    ("gptq", config(dynamic={"(": {}}), ["pattern '('"]),
    ("gptq", config(dynamic={".*q_proj": {"bits": 8}, ".*0.*q_proj": {"bits": 2}}), [Q, "differ"]),
    ("gptq", config(dynamic={"-:.*q_proj": {}}), [Q, "not quantized"]),
    ("gptq", config(group_size=64), [Q + ".scales", "[2, 64]", "[1, 64]"]),
    ("gptq", drop(Q + ".scales"), [Q + ".scales", "missing"]),
    ("gptq", drop(Q + ".qzeros"), [Q + ".qzeros", "missing"]),
    ("gptq", drop(Q + ".qweight"), [Q + ".qweight", "missing"]),
    ("gptq", replace(Q + ".qweight", dtype="F32"), [Q + ".qweight", "F32", "I32"]),
    ("gptq", replace(Q + ".scales", dtype="I16"), [Q + ".scales", "I16"]),
    ("gptq", add(Q + ".bias", Tensor("F16", [64], b"\1\0" * 64)), [Q + ".bias", "attention_bias"]),
    ("gptq", add(Q + ".perm", Tensor("I32", [1], ints(1))), [Q + ".perm"]),
    ("gptq", patch(Q + ".g_idx", 0, ints(2)), [Q + ".g_idx", "found group 2", "0 to 1"]),
    ("gptq", patch(Q + ".g_idx", 0, ints(-1)), [Q + ".g_idx", "found group -1"]),
    ("gptq", patch(Q + ".g_idx", 0, ints(1)), [Q + ".g_idx", "31 columns of group 0", "expected 32"]),
    ("gptq_8bit_row", config(desc_act=True), [Q + ".g_idx", "missing"]),
    ("gptq_sym", patch(Q + ".qzeros", 0, ints(0x77777776)), [Q + ".qzeros", "'sym': true"]),
    ("awq_gemm", config(version="gemv_fast"), ["version", '"gemv_fast"']),
    ("awq_gemm", config(bits=8), ["bits", "found 8"]),
    ("awq_gemm", config(zero_point=False), ["zero_point", "false"]),
    ("awq_gemm", config(group_size=48), ["64 columns", "multiple of 48"]),
    ("awq_gemm", replace(Q + ".qweight", shape=[32, 16]), [Q + ".qweight", "[32, 16]", "[64, 8]"]),
    ("ct_packed", config(format="nvfp4-pack-quantized"), ["format", '"nvfp4-pack-quantized"']),
    ("ct_packed", config(format="marlin-24"), ["format", '"marlin-24"']),
    ("ct_packed", config(sparsity_config={"format": "sparse-24-bitmask"}), ["sparsity_config"]),
    ("ct_packed", config(transform_config={"R1": 1}), ["transform_config"]),
    ("ct_packed", weights_config(num_bits=5), ["num_bits", "found 5"]),
    ("ct_packed", weights_config(strategy="tensor_group"), ["strategy", '"tensor_group"']),
    ("ct_packed", weights_config(type="float"), ["type", "'int' in this format"]),
    ("ct_packed", weights_config(dynamic=True), ["dynamic", "true"]),
    ("ct_packed", lambda m, _: m.quantization["config_groups"]["group_0"].update(targets=["re:.*mlp.*"]), [Q, "no target"]),
    ("ct_packed", lambda m, _: m.quantization["config_groups"]["group_0"].update(output_activations={"num_bits": 8}), ["output_activations"]),
    ("ct_packed_zeros", drop(DOWN + ".weight_zero_point"), [DOWN + ".weight_zero_point", "missing"]),
    ("ct_int8", replace(Q + ".weight", dtype="U8"), [Q + ".weight", "U8", "I8"]),
    ("ct_fp8_block", replace(Q + ".weight", dtype="F8_E5M2"), [Q + ".weight", "F8_E5M2", "F8_E4M3"]),
    ("fp8_block", config(fmt="e5m2"), ["fmt", '"e5m2"']),
    ("fp8_block", config(weight_block_size=[128]), ["weight_block_size"]),
    ("fp8_block", config(weight_block_size=[64, 64]), [DOWN.replace("1", "0", 1).replace("down", "gate") + ".weight_scale_inv", "[2, 1]", "[3, 1]"]),
    ("fp8_tensor", drop(Q + ".weight_scale"), [Q + ".weight_scale", "missing"]),
    ("bnb_nf4", config(bnb_4bit_quant_type="int4"), ["bnb_4bit_quant_type", '"int4"']),
    ("bnb_nf4", config(load_in_8bit=True), ["exactly one"]),
    ("bnb_nf4", drop(Q + ".weight.absmax"), [Q + ".weight.absmax", "missing"]),
    ("bnb_nf4", drop(Q + ".weight.quant_state.bitsandbytes__nf4"), [Q, "quant_state"]),
    ("bnb_nf4", patch(Q + ".weight.quant_map", 0, struct.pack("<f", -2)), [Q + ".weight.quant_map", "table of nf4"]),
    ("bnb_nf4", patch(Q + ".weight.quant_state.bitsandbytes__nf4", 0, b"["), ["quant_state", "blocksize"]),
    ("bnb_nf4_nested", drop(Q + ".weight.nested_absmax"), [Q + ".weight.nested_absmax", "missing"]),
    ("bnb_int8", patch(Q + ".weight_format", 0, b"\1"), [Q + ".weight_format", "row-major"]),
    ("bnb_int8", drop(Q + ".SCB"), [Q + ".SCB", "missing"]),
]

WARNED = [
    ("gptq_sym_misnamed", lambda *_: None, ["zero points are those of gptq_v2"]),
    ("ct_int8", lambda *_: None, ["activations are not quantized"]),
    ("gptq", config(hessian="x"), ["hessian", "ignored"]),
    ("ct_packed", config(sparsity_config={"format": "dense", "global_sparsity": 0.1}), []),
    ("ct_packed", config(kv_cache_scheme={"num_bits": 8}), ["kv_cache_scheme"]),
]


def compile_changed(llmc, folder, name, change):
    model = next(m for m in checkpoints.models() if m.name == name)
    packed, _ = model.tensors()
    change(model, packed)
    checkpoints.write_folder(folder / name, {**model.config(), "quantization_config": model.quantization}, packed)
    return subprocess.run([llmc, "compile", folder / name, "--target", "x86-64-v3", "--cache", folder / "cache", "-o", folder / "plan.fb"],
                          capture_output=True, text=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llmc", required=True, type=pathlib.Path)
    args = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for cases, status in ((REFUSED, 1), (WARNED, 0)):
            for name, change, parts in cases:
                done = compile_changed(args.llmc.resolve(), pathlib.Path(folder), name, change)
                lines = [line for line in done.stderr.splitlines() if status == 0 or "error:" in line]
                text = "\n".join(lines)
                missing = [part for part in parts if part not in text]
                if done.returncode == status and not missing and (status == 0 or len(lines) == 1):
                    continue
                failed += 1
                print(f"{name}: expected {'an error' if status else 'a warning'} with {parts}; exit status {done.returncode}, found:\n{done.stderr}")
    print(f"{len(REFUSED) + len(WARNED) - failed} of {len(REFUSED) + len(WARNED)} as expected")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
