"""Forms of the trained model examples/tiny-fable for the tests: with float16 weights, and quantized as writers of checkpoints do. Standard library
only."""

import json
import pathlib
import struct

import checkpoints
import packing
from packing import floats

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

    def write(self, out):
        config = json.loads((EXAMPLE / "config.json").read_text()) | {"dtype": "float16"}
        packed = {name: floats([packing.rounded(v, "F16") for v in values], shape, "F16") for name, shape, values in tensors()}
        checkpoints.write_folder(out / self.name, config, packed)


def models():
    return [Trained("tiny_fable_w8"), TrainedFloat16("tiny_fable_fp8")]
