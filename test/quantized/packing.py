"""Packs drawn codes, zero points and scales as each writer of quantized checkpoints does, and says what the weights are then.

Written from the packing code of the writers, not from llmc's reader of them. Only the standard library: the tests make their checkpoints
with it. Matrices are lists of rows; every packer returns ({tensor suffix: Tensor}, weights [N][K] as exact floats, rounded to float32).
"""

import dataclasses
import json
import math
import struct

NF4 = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
       -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
       0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0]
FP4 = [v / 12 for v in (0, 0.0625, 8, 12, 4, 6, 2, 3, 0, -0.0625, -8, -12, -4, -6, -2, -3)]
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]  # AutoAWQ, packing_utils.py


@dataclasses.dataclass
class Tensor:
    dtype: str
    shape: list
    data: bytes


def f32(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def rounded(value, dtype):
    """To float16, or cut to bfloat16: any value that the type holds will do."""
    if dtype == "F16":
        return struct.unpack("<e", struct.pack("<e", value))[0]
    if dtype == "BF16":
        return struct.unpack("<f", b"\0\0" + struct.pack("<f", value)[2:])[0]
    return f32(value)


def floats(values, shape, dtype):
    if dtype == "BF16":
        data = b"".join(struct.pack("<f", v)[2:] for v in values)
    else:
        data = struct.pack(f"<{len(values)}{'e' if dtype == 'F16' else 'f'}", *values)
    return Tensor(dtype, shape, data)


def words(values, shape):
    return Tensor("I32", shape, struct.pack(f"<{len(values)}I", *values))


def flat(matrix):
    return [v for row in matrix for v in row]


def transposed(matrix):
    return [list(column) for column in zip(*matrix)]


def bit_stream(values, bits):
    """The values one behind the other, lowest bits first, as 32-bit words."""
    number = 0
    for i, v in enumerate(values):
        number |= v << (bits * i)
    data = number.to_bytes(len(values) * bits // 8, "little")
    return list(struct.unpack(f"<{len(data) // 4}I", data))


def whole_values(values, bits):
    """As many values in a word as fit; the last word filled up with zeros."""
    per_word = 32 // bits
    return [sum(v << (bits * i) for i, v in enumerate(values[j:j + per_word])) for j in range(0, len(values), per_word)]


class Draw:
    """Random codes and scales for a weight [n, k] of about the standard deviation `spread`."""

    def __init__(self, rng, n, k, spread):
        self.rng, self.n, self.k, self.spread = rng, n, k, spread

    def codes(self, count):
        return [[self.rng.randrange(count) for _ in range(self.k)] for _ in range(self.n)]

    def scales(self, columns, code_spread, dtype, rows=None):
        base = self.spread / code_spread
        return [[rounded(base * self.rng.uniform(0.5, 1.5), dtype) for _ in range(columns)] for _ in range(rows or self.n)]

    def zeros(self, columns, bits):
        """Around the middle, with both ends there."""
        top, middle = (1 << bits) - 1, 1 << (bits - 1)
        out = [[max(0, min(top, middle + self.rng.randrange(-2, 3))) for _ in range(columns)] for _ in range(self.n)]
        out[0][0], out[-1][-1] = 0, top
        return out


def spread_of(count):
    return math.sqrt((count * count - 1) / 12)


def spread_from_zeros(bits):
    """Root mean square of code - zero. Zeros (Draw.zeros) count with 2 bits: they are as far apart as the codes."""
    return math.sqrt(2.7) if bits == 2 else spread_of(1 << bits)


def integers(codes, zeros, scales, group_of):
    """(q - z) * s, exact in a double, rounded once."""
    return [[f32((q - z[g]) * s[g]) for q, g in zip(row, group_of)] for row, z, s in zip(codes, zeros, scales)]


def group_of_columns(rng, k, group, shuffled):
    groups = [i // group for i in range(k)]
    if shuffled:
        rng.shuffle(groups)
    return groups


def gptq(draw, bits=4, group=32, sym=False, v2=False, scale="F16", group_of=None, with_g_idx=True):
    n, k = draw.n, draw.k
    size = k if group == -1 else group
    group_of = group_of or group_of_columns(draw.rng, k, size, False)
    count = (k + size - 1) // size
    codes, scales = draw.codes(1 << bits), draw.scales(count, spread_from_zeros(bits), scale)
    zeros = [[1 << (bits - 1)] * count for _ in range(n)] if sym else draw.zeros(count, bits)
    stored = [[z if v2 else (z - 1) % (1 << bits) for z in row] for row in zeros]
    columns = [bit_stream(row, bits) for row in codes]  # one stream along K for each output
    tensors = {
        "qweight": words(flat(transposed(columns)), [k * bits // 32, n]),
        "qzeros": words(flat(bit_stream(row, bits) for row in transposed(stored)), [count, n * bits // 32]),
        "scales": floats(flat(transposed(scales)), [count, n], scale),
    }
    if with_g_idx:
        tensors["g_idx"] = Tensor("I32", [k], struct.pack(f"<{k}i", *group_of))
    return tensors, integers(codes, zeros, scales, group_of)


def awq(draw, group=32, version="gemm", scale="F16"):
    n, k = draw.n, draw.k
    size = k if group == -1 else group
    count = k // size
    codes, scales, zeros = draw.codes(16), draw.scales(count, spread_of(16), scale), draw.zeros(count, 4)
    weights = integers(codes, zeros, scales, [i // size for i in range(k)])

    def across(matrix):  # [rows of K or of groups] words, eight outputs a word
        return flat([sum(row[j + c] << (4 * i) for i, c in enumerate(AWQ_ORDER)) for j in range(0, n, 8)] for row in transposed(matrix))

    if version == "gemm":
        return {"qweight": words(across(codes), [k, n // 8]), "qzeros": words(across(zeros), [count, n // 8]),
                "scales": floats(flat(transposed(scales)), [count, n], scale)}, weights
    multiple = 1 if size >= 128 else 2 if size == 64 else 4
    width = -(-(-(-count // 8)) // multiple) * multiple
    padded = [row + [0] * (8 * width - count) for row in zeros]
    return {"qweight": words(flat(bit_stream(row, 4) for row in codes), [n, k // 8]),
            "qzeros": words(flat(bit_stream(row, 4) for row in padded), [n, width]),
            "scales": floats(flat(row + [0.0] * (8 * width - count) for row in scales), [n, 8 * width], scale)}, weights


def ct_packed(draw, bits=4, group=32, sym=True, scale="BF16", group_of=None):
    n, k, per_word = draw.n, draw.k, 32 // bits
    size = group or k
    half, count = 1 << (bits - 1), (k + size - 1) // size
    codes, scales = draw.codes(1 << bits), draw.scales(count, spread_of(1 << bits), scale)  # values are codes - half
    zeros = [[half] * count for _ in range(n)] if sym else draw.zeros(count, bits)
    tensors = {
        "weight_packed": words(flat(whole_values(row, bits) for row in codes), [n, -(-k // per_word)]),
        "weight_scale": floats(flat(scales), [n, count], scale),
        "weight_shape": Tensor("I64", [2], struct.pack("<2q", n, k)),
    }
    if not sym:
        packed = [whole_values(row, bits) for row in transposed(zeros)]  # along N
        tensors["weight_zero_point"] = words(flat(transposed(packed)), [-(-n // per_word), count])
    if group_of:
        tensors["weight_g_idx"] = Tensor("I32", [k], struct.pack(f"<{k}i", *group_of))
    return tensors, integers(codes, zeros, scales, group_of or [i // size for i in range(k)])


def ct_int8(draw, scale="F32"):
    codes, scales = draw.codes(256), draw.scales(1, spread_of(256), scale)
    data = bytes((q - 128) % 256 for q in flat(codes))
    return {"weight": Tensor("I8", [draw.n, draw.k], data), "weight_scale": floats(flat(scales), [draw.n, 1], scale)}, \
        integers(codes, [[128]] * draw.n, scales, [0] * draw.k)


def e4m3(code):
    sign, exponent, fraction = code >> 7, code >> 3 & 15, code & 7
    value = fraction / 8 * 2.0 ** -6 if exponent == 0 else (1 + fraction / 8) * 2.0 ** (exponent - 7)
    return -value if sign else value


def fp8(draw, block=None, per_row=False, suffix="weight_scale", scale="F32", input_scale=False):
    """Scales of blocks [rows, columns], of rows, or one for all. Every code but the two that are no number."""
    n, k = draw.n, draw.k
    usual = [c for c in range(256) if c & 0x7f < 0x60]  # large values are rare, or they would be all that counts
    codes = [[draw.rng.choice(usual) for _ in range(k)] for _ in range(n)]
    codes[0][:256] = [c for c in range(256) if c & 0x7f != 0x7f][:k]
    rows, columns = block if block else (1 if per_row else n, k)
    shape = [-(-n // rows), -(-k // columns)]
    spread = math.sqrt(sum(e4m3(c) ** 2 for c in usual) / len(usual))
    scales = draw.scales(shape[1], spread, scale, rows=shape[0])
    weights = [[f32(e4m3(q) * scales[i // rows][j // columns]) for j, q in enumerate(row)] for i, row in enumerate(codes)]
    tensors = {"weight": Tensor("F8_E4M3", [n, k], bytes(flat(codes))),
               suffix: floats(flat(scales), shape if block or per_row else [1], scale)}
    if input_scale:
        tensors["input_scale"] = floats([0.5], [1], "F32")
    return tensors, weights


def bnb4(draw, kind="nf4", block=64, nested=False):
    n, k = draw.n, draw.k
    table = [f32(v) for v in (NF4 if kind == "nf4" else FP4)]
    codes = draw.codes(16)
    blocks = n * k // block
    spread = math.sqrt(sum(v * v for v in table) / 16)
    state = {"quant_type": kind, "blocksize": block, "dtype": "float32", "shape": [n, k]}
    tensors = {"weight.quant_map": floats(table, [16], "F32")}
    if nested:
        nested_block, offset = 16, f32(draw.spread / spread)
        levels = [f32(math.copysign((i / 128) ** 2, i)) for i in range(-128, 128)]
        quantized = [draw.rng.randrange(256) for _ in range(blocks)]
        nested_absmax = [f32(draw.spread / spread * draw.rng.uniform(0.3, 0.6)) for _ in range(-(-blocks // nested_block))]
        absmax = [f32(f32(levels[q] * nested_absmax[i // nested_block]) + offset) for i, q in enumerate(quantized)]
        state |= {"nested_blocksize": nested_block, "nested_dtype": "float32", "nested_offset": offset}
        tensors |= {"weight.absmax": Tensor("U8", [blocks], bytes(quantized)),
                    "weight.nested_absmax": floats(nested_absmax, [len(nested_absmax)], "F32"),
                    "weight.nested_quant_map": floats(levels, [256], "F32")}
    else:
        absmax = [f32(draw.spread / spread * draw.rng.uniform(0.5, 1.5)) for _ in range(blocks)]
        tensors["weight.absmax"] = floats(absmax, [blocks], "F32")
    line = flat(codes)
    tensors["weight"] = Tensor("U8", [n * k // 2, 1], bytes(line[i] << 4 | line[i + 1] for i in range(0, n * k, 2)))
    text = json.dumps(state).encode()
    tensors[f"weight.quant_state.bitsandbytes__{kind}"] = Tensor("U8", [len(text)], text)
    values = [f32(table[q] * absmax[i // block]) for i, q in enumerate(line)]
    return tensors, [values[i * k:(i + 1) * k] for i in range(n)]


def bnb8(draw):
    codes, scales = draw.codes(256), draw.scales(1, spread_of(256) / 127, "F32")
    tensors = {"weight": Tensor("I8", [draw.n, draw.k], bytes((q - 128) % 256 for q in flat(codes))),
               "SCB": floats(flat(scales), [draw.n], "F32"), "weight_format": Tensor("U8", [], b"\0")}
    return tensors, integers(codes, [[128]] * draw.n, [[f32(s[0] / 127)] for s in scales], [0] * draw.k)
