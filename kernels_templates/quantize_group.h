// Weights quantized here, for both kinds of target: round to nearest, and per group the clip of its range that gives the
// least squared error. Included behind the types.h of a side. The formulas are those of docs/quantization.md.
//
// All targets get the same bits, although compilers may contract a product and a sum into one operation: wherever a sum
// follows a product, that product is exact, and errors are summed in the same order everywhere: 16 sums of every 16th
// column of a group, then these in pairs.
#pragma once

#include "quantized_weights.h"

constexpr int kQuantizeLanes = 16;

// Clips that are tried: shares of the range, the first one all of it. Floating-point codes have no use for less.
template <typename Code>
constexpr int kClips = Code::kInteger ? 12 : 1;
KERNEL_FN float clip_share(int clip) { return 1.0f - static_cast<float>(clip) * 0.03125f; }

template <typename Code>
constexpr float kHighestCode = Code::kInteger ? static_cast<float>((1 << Code::kBits) - 1) : 448.0f;  // or e4m3's value

// Least and greatest weight of a group, and zero.
struct GroupRange {
  float low = 0.0f, high = 0.0f;
};
KERNEL_FN GroupRange with(const GroupRange& range, float w) {
  return {w < range.low ? w : range.low, w > range.high ? w : range.high};
}

// How a group is quantized: weight = value * scale, where an integer's value is code - zero.
struct GroupScale {
  float scale, inverse, zero;
};

// As stored. A float32 scale keeps 16 bits of its fraction, so that its product with a code is exact.
template <typename S>
KERNEL_FN float stored_scale(float v) {
  return sizeof(S) == sizeof(float) ? float_of_bits(float_bits(v) & 0xffffff00u) : to_float(from_float<S>(v));
}

// With zeros, codes span the range. Without, the weight farthest from zero gets the lowest code, which is farther from
// the middle than the highest: its scale may be negative.
template <typename Code, typename S>
KERNEL_FN GroupScale group_scale(const GroupRange& range, bool zeros, int clip) {
  constexpr float kMiddle = static_cast<float>(1 << (Code::kBits - 1));
  const float share = clip_share(clip), extreme = -range.low > range.high ? range.low : range.high;
  GroupScale g = {0.0f, 0.0f, Code::kInteger ? kMiddle : 0.0f};
  if (!Code::kInteger) {
    g.scale = stored_scale<S>((extreme < 0.0f ? -extreme : extreme) * share / kHighestCode<Code>);
  } else if (zeros) {
    g.scale = stored_scale<S>((range.high - range.low) * share / kHighestCode<Code>);
  } else {
    g.scale = stored_scale<S>(extreme * share / -kMiddle);
  }
  g.inverse = g.scale != 0.0f ? 1.0f / g.scale : 0.0f;
  if (Code::kInteger && zeros) {
    const float zero = nearest_integer(-range.low * share * g.inverse);
    g.zero = zero < kHighestCode<Code> ? zero : kHighestCode<Code>;
  }
  return g;
}

// The nearest value of the code to w / scale.
template <typename Code>
KERNEL_FN float quantized_value(float w, const GroupScale& g) {
  const float lowest = Code::kInteger ? -g.zero : -kHighestCode<Code>;
  const float highest = Code::kInteger ? kHighestCode<Code> - g.zero : kHighestCode<Code>;
  float v = w * g.inverse;
  if (Code::kInteger) {
    v = nearest_integer(v);
    v = v > lowest ? v : lowest;
    return v < highest ? v : highest;
  }
  v = v > lowest ? v : lowest;
  v = v < highest ? v : highest;
  // Three bits of fraction; below 2^-6, as many as the binade above has. Both products are by powers of two.
  const u32 binade = float_bits(v) & 0x7f800000u, step = (binade > (121u << 23) ? binade : 121u << 23) - (3u << 23);
  return nearest_integer(v * float_of_bits((254u << 23) - step)) * float_of_bits(step);
}

template <typename Code>
KERNEL_FN u32 code_of_value(float v, const GroupScale& g) {
  if (Code::kInteger) return static_cast<u32>(static_cast<i32>(v + g.zero));
  const u32 magnitude = float_bits(v) & 0x7fffffffu, sign = float_bits(v) >> 24 & 0x80u;
  const u32 normal = (magnitude >> 20) - (120u << 3),
            small = static_cast<u32>(static_cast<i32>(float_of_bits(magnitude) * 512.0f));
  return sign | (magnitude >= 121u << 23 ? normal : small);
}

// What a weight adds to the error of its group: 12 bits of the difference, whose square is exact.
KERNEL_FN float squared_error(float w, float value, const GroupScale& g) {
  const float difference = float_of_bits(float_bits(w - value * g.scale) & 0xfffff000u);
  return difference * difference;
}

// Where a group's scale and zero go.
template <typename S>
KERNEL_FN void store_group(const QuantizeArgs& a, i64 row, i64 group, const GroupScale& g) {
  const i64 at = interleaved_index(a.dst_row + row, group, (a.k + a.group - 1) / a.group, a.interleave);
  static_cast<S*>(a.dst_scales)[at] = from_float<S>(g.scale);
  if (a.dst_zeros) a.dst_zeros[at] = static_cast<unsigned char>(static_cast<i32>(g.zero));
}
