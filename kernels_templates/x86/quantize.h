// Init program: dense weights to quantized ones, see QuantizeArgs. Plain C++ in loops over 16 lanes, so that llmc itself can
// run it, for every target, when it embeds weights.
#pragma once

// clang-format off: the types come first
#include "x86/types.h"
#include "quantize_group.h"
// clang-format on

struct QuantizeLanes {
  float v[kQuantizeLanes];
};

KERNEL_FN float value_of_bits(float, u32 bits) { return float_of_bits(bits); }
KERNEL_FN float value_of_bits(bf16, u32 bits) { return float_of_bits(bits << 16); }
// The exponents' biases differ by 112. Exact, and without a call where a machine is not known to convert.
KERNEL_FN float value_of_bits(f16, u32 bits) {
  const u32 magnitude = bits & 0x7fffu, not_finite = magnitude >= 0x7c00u ? 0x7f800000u : 0;
  return float_of_bits(float_bits(float_of_bits(magnitude << 13) * 0x1p112f) | not_finite | (bits & 0x8000u) << 16);
}

// Columns k .. k + 15 of a row, as far as there are `count`; zeros behind them.
template <typename T>
KERNEL_FN QuantizeLanes load_lanes(const unsigned char* row, i64 k, i64 count) {
  QuantizeLanes out;
  if (count >= kQuantizeLanes) {
    unsigned char bytes[kQuantizeLanes * sizeof(T)];
    __builtin_memcpy(bytes, row + k * static_cast<i64>(sizeof(T)), sizeof bytes);
    for (int i = 0; i < kQuantizeLanes; ++i) {
      u32 bits = 0;
      __builtin_memcpy(&bits, bytes + static_cast<unsigned>(i) * sizeof(T), sizeof(T));
      out.v[i] = value_of_bits(T{}, bits);
    }
    return out;
  }
  for (int i = 0; i < kQuantizeLanes; ++i) {
    u32 bits = 0;
    if (i < count) __builtin_memcpy(&bits, row + (k + i) * static_cast<i64>(sizeof(T)), sizeof(T));
    out.v[i] = value_of_bits(T{}, bits);
  }
  return out;
}

// In the order of warp_sum<16> of cuda/types.h.
KERNEL_FN float lanes_sum(const QuantizeLanes& lanes) {
  QuantizeLanes s = lanes;
  for (int half = kQuantizeLanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) s.v[i] += s.v[i + half];
  return s.v[0];
}

template <typename Code, typename S, typename T>
static inline void quantize_row(const QuantizeArgs& a, i64 row) {
  constexpr int kPerWord = 32 / Code::kBits;
  const unsigned char* src = static_cast<const unsigned char*>(a.src) + (a.src_first + row * a.src_stride) * static_cast<i64>(sizeof(T));
  for (i64 group = 0; group * a.group < a.k; ++group) {
    const i64 begin = group * a.group, end = min_of(begin + a.group, a.k);
    QuantizeLanes low = {}, high = {};
    for (i64 k = begin; k < end; k += kQuantizeLanes) {
      const QuantizeLanes w = load_lanes<T>(src, k, end - k);
      for (int i = 0; i < kQuantizeLanes; ++i) {
        low.v[i] = w.v[i] < low.v[i] ? w.v[i] : low.v[i];
        high.v[i] = w.v[i] > high.v[i] ? w.v[i] : high.v[i];
      }
    }
    GroupRange range;
    for (int i = 0; i < kQuantizeLanes; ++i) range = with(with(range, low.v[i]), high.v[i]);
    GroupScale best = group_scale<Code, S>(range, a.dst_zeros, 0);
    float least = __builtin_huge_valf();
    for (int clip = 0; clip < kClips<Code>; ++clip) {
      const GroupScale g = group_scale<Code, S>(range, a.dst_zeros, clip);
      QuantizeLanes errors = {};
      for (i64 k = begin; k < end; k += kQuantizeLanes) {
        const QuantizeLanes w = load_lanes<T>(src, k, end - k);
        for (int i = 0; i < kQuantizeLanes; ++i) errors.v[i] += squared_error(w.v[i], quantized_value<Code>(w.v[i], g), g);
      }
      const float error = lanes_sum(errors);
      if (error < least) best = g, least = error;
    }
    for (i64 k = begin; k < end; k += kQuantizeLanes) {
      const QuantizeLanes w = load_lanes<T>(src, k, end - k);
      for (int word = 0; word < kQuantizeLanes / kPerWord && k + word * kPerWord < end; ++word) {
        u32 codes = 0;
        for (int i = 0; i < kPerWord && k + word * kPerWord + i < end; ++i) {
          const u32 code = code_of_value<Code>(quantized_value<Code>(w.v[word * kPerWord + i], best), best);
          codes |= code << code_shift(i, Code::kBits, a.interleave == kFragmentRows);
        }
        static_cast<u32*>(a.dst_codes)[word_index(a.dst_row + row, k / kPerWord + word, a.k, Code::kBits, a.interleave)] = codes;
      }
    }
    store_group<S>(a, row, group, best);
  }
}

// Tile: y = block of 16 destination rows, from that of dst_row on.
template <typename Code, typename S>
KERNEL_FN void quantize(const QuantizeArgs& a, Tile tile) {
  const i64 block = a.dst_row / kQuantizeLanes + tile.y;
  const i64 first = max_of(block * kQuantizeLanes, a.dst_row) - a.dst_row;
  const i64 last = min_of((block + 1) * kQuantizeLanes - a.dst_row, a.rows);
  for (i64 row = first; row < last; ++row) {
    if (a.src_type == 0)
      quantize_row<Code, S, float>(a, row);
    else if (a.src_type == 1)
      quantize_row<Code, S, f16>(a, row);
    else
      quantize_row<Code, S, bf16>(a, row);
  }
}
