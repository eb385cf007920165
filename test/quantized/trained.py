"""Forms of the trained model examples/tiny-fable for the tests: with float16 weights, and quantized as writers of checkpoints do. Standard library
only."""

import json
import pathlib
import struct

import checkpoints
import nearest
import packing
from packing import Tensor, floats

BLOCK = 128
EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "examples" / "tiny-fable"


def tensors():
    """(shape, values) by name."""
    data = (EXAMPLE / "model.safetensors").read_bytes()
    (size,) = struct.unpack_from("<Q", data)
    for name, entry in json.loads(data[8:8 + size]).items():
        if name == "__metadata__":
            continue
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        halves = struct.unpack(f"<{(end - begin) // 2}H", data[begin:end])
        yield name, entry["shape"], struct.unpack(f"<{len(halves)}f", struct.pack(f"<{len(halves)}I", *(h << 16 for h in halves)))


class Trained:
    """As it is, in bfloat16, for `llmc compile --quantize`."""

    dtype = "BF16"

    def __init__(self, name):
        self.name = name

    def write(self, out):
        (out / self.name).mkdir(parents=True, exist_ok=True)
        for file in ("config.json", "model.safetensors"):
            (out / self.name / file).write_bytes((EXAMPLE / file).read_bytes())


class TrainedFloat16(Trained):
    """The same in float16."""

    dtype = "F16"

    def config(self):
        return json.loads((EXAMPLE / "config.json").read_text()) | {"dtype": "float16"}

    def tensors_of(self, name, shape, values):
        return {name: floats([packing.rounded(v, "F16") for v in values], shape, "F16")}

    def write(self, out):
        packed = {}
        for name, shape, values in tensors():
            packed |= self.tensors_of(name, shape, values)
        checkpoints.write_folder(out / self.name, self.config(), packed)


class TrainedFp8Blocks(TrainedFloat16):
    """That one with projections in e4m3, a scale for each 128 x 128, as compressed-tensors writes it. (DeepSeek's writer differs in names, and its
    scales are float32.)"""

    def config(self):
        quantization = checkpoints.ct_config("float-quantized", num_bits=8, type="float", strategy="block", block_structure=[BLOCK, BLOCK], group_size=None)
        return super().config() | {"quantization_config": quantization}

    def tensors_of(self, name, shape, values):
        if "_proj" not in name:
            return super().tensors_of(name, shape, values)
        codes, scales = fp8_blocks(values, shape)
        blocks = [-(-size // BLOCK) for size in shape]
        return {name: Tensor("F8_E4M3", shape, bytes(codes)), name + "_scale": floats(scales, blocks, "F16")}


def fp8_blocks(values, shape):
    """Codes [n * k] and the scale of each block."""
    n, k = shape
    across = -(-k // BLOCK)
    block_of = [i // k // BLOCK * across + i % k // BLOCK for i in range(n * k)]
    greatest = [0.0] * (-(-n // BLOCK) * across)
    for value, block in zip(values, block_of):
        greatest[block] = max(greatest[block], abs(value))
    scales = [packing.rounded(v / 448, "F16") for v in greatest]
    code_of = {value: code for code, value in enumerate(nearest.E4M3)}
    rounded = [nearest.nearest_e4m3(value / scales[block]) for value, block in zip(values, block_of)]
    return [code_of[abs(v)] | (128 if v < 0 else 0) for v in rounded], scales


def models():
    return [Trained("tiny_fable_w8"), Trained("tiny_fable_w8_dp4a"), TrainedFloat16("tiny_fable_fp8"), TrainedFp8Blocks("tiny_fable_fp8_block")]
