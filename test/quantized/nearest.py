"""Round to nearest with a search of the clip, from the formulas of docs/quantization.md: what `llmc compile --quantize` must make of dense
weights, to the last bit. Standard library only; every operation is rounded to float32, or says why it need not be.
"""

import struct

from packing import f32

CLIPS = [1 - i / 32 for i in range(12)]
SCHEMES = {"w4g128": ("u4", 128), "w4g32": ("u4", 32), "w8": ("u8", 0), "fp8": ("e4m3", 0)}
WITH_ZEROS = {"w4g128", "w4g32"}


def bits_of(value):
    return struct.unpack("<I", struct.pack("<f", value))[0]


def float_of(bits):
    return struct.unpack("<f", struct.pack("<I", bits))[0]


def stored_scale(value, dtype):
    """Rounded to the scale's type, to even; a float32 one cut to 16 bits of fraction and leading one."""
    if dtype == "F16":
        return struct.unpack("<e", struct.pack("<e", value))[0]
    bits = bits_of(value)
    if dtype == "F32":
        return float_of(bits & 0xffffff00)
    return float_of((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000)


def e4m3_values():
    finite = [(8 + f) * 2.0 ** (e - 10) if e else f * 2.0**-9 for e in range(16) for f in range(8) if (e, f) != (15, 7)]
    return finite


E4M3 = e4m3_values()


def nearest_e4m3(value):
    """The nearest one, of two equally near ones that with an even code."""
    low, high = 0, len(E4M3) - 1
    magnitude = min(abs(value), E4M3[-1])
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if E4M3[middle] <= magnitude else (low, middle)
    below, above = magnitude - E4M3[low], E4M3[high] - magnitude
    code = low if below < above or (below == above and low % 2 == 0) else high
    return E4M3[code] if value >= 0 else -E4M3[code]


def group_scales(group, code, zeros, dtype):
    """(scale, 1 / scale, zero) for each clip."""
    low, high = min(0.0, *group), max(0.0, *group)
    extreme = low if -low > high else high
    for share in CLIPS if code != "e4m3" else CLIPS[:1]:
        if code == "e4m3":
            scale = stored_scale(f32(f32(abs(extreme) * share) / 448), dtype)
        elif zeros:
            scale = stored_scale(f32(f32(f32(high - low) * share) / 15), dtype)
        else:
            scale = stored_scale(f32(f32(extreme * share) / {"u4": -8, "u8": -128}[code]), dtype)
        inverse = f32(1 / scale) if scale else 0.0
        zero = {"u4": 8, "u8": 128, "e4m3": 0}[code]
        if zeros:
            zero = min(round(f32(f32(-low * share) * inverse)), 15)
        yield scale, inverse, zero


def value_of(w, code, scale):
    step, inverse, zero = scale
    scaled = f32(w * inverse)
    if code == "e4m3":
        return nearest_e4m3(scaled)
    return max(-zero, min({"u4": 15, "u8": 255}[code] - zero, round(scaled)))


def squared_error(group, values, scale):
    """Sums of every 16th column, then these in pairs."""
    sums = [0.0] * 16
    for i, (w, v) in enumerate(zip(group, values)):
        difference = float_of(bits_of(f32(w - v * scale[0])) & 0xfffff000)  # v * scale is exact
        sums[i % 16] = f32(sums[i % 16] + difference * difference)          # so is the square
    for half in (8, 4, 2, 1):
        sums = [f32(sums[i] + sums[i + half]) for i in range(half)]
    return sums[0]


def quantize_group(group, code, zeros, dtype):
    """The weights that are left of it."""
    best = None
    for scale in group_scales(group, code, zeros, dtype):
        values = [value_of(w, code, scale) for w in group]
        error = squared_error(group, values, scale)
        if best is None or error < best[0]:
            best = error, scale, values
    _, scale, values = best
    return [f32(v * scale[0]) for v in values]


def quantize(rows, scheme, dtype):
    """[N][K] dense weights of that dtype -> the dequantized weights."""
    code, group = SCHEMES[scheme]
    out = []
    for row in rows:
        size = min(group or len(row), len(row))
        out.append([v for i in range(0, len(row), size) for v in quantize_group(row[i:i + size], code, scheme in WITH_ZEROS, dtype)])
    return out
