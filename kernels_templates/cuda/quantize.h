// Init program: dense weights to quantized ones, see QuantizeArgs. Bound by the arithmetic of the clips that are tried.
#pragma once

// clang-format off: the types come first
#include "cuda/types.h"
#include "quantize_group.h"
// clang-format on

// Tensors lie in memory as in their file.
template <typename T>
KERNEL_FN float unaligned_value(const void* base, i64 index) {
  const unsigned char* p = static_cast<const unsigned char*>(base) + index * static_cast<i64>(sizeof(T));
  return to_float(T{static_cast<u16>(p[0] | p[1] << 8)});
}
template <>
KERNEL_FN float unaligned_value<float>(const void* base, i64 index) {
  return unaligned_float(base, index);
}

template <typename Code, typename S, typename T>
KERNEL_FN void quantize_row(const QuantizeArgs& a, i64 row) {
  constexpr int kPerWord = 32 / Code::kBits;
  const int lane = threadIdx.x % kQuantizeLanes;
  const i64 first = a.src_first + row * a.src_stride;
  for (i64 group = 0; group * a.group < a.k; ++group) {
    const i64 begin = group * a.group, end = min_of(begin + a.group, a.k);
    GroupRange range;
    for (i64 k = begin + lane; k < end; k += kQuantizeLanes) range = with(range, unaligned_value<T>(a.src, first + k));
    range = {-warp_max<kQuantizeLanes>(-range.low), warp_max<kQuantizeLanes>(range.high)};
    GroupScale best = group_scale<Code, S>(range, a.dst_zeros, 0);
    float least = kInfinity;
    for (int clip = 0; clip < kClips<Code>; ++clip) {
      const GroupScale g = group_scale<Code, S>(range, a.dst_zeros, clip);
      float error = 0.0f;
      for (i64 k = begin + lane; k < end; k += kQuantizeLanes) {
        const float w = unaligned_value<T>(a.src, first + k);
        error += squared_error(w, quantized_value<Code>(w, g), g);
      }
      error = warp_sum<kQuantizeLanes>(error);
      if (error < least) best = g, least = error;
    }
    for (i64 k0 = begin; k0 < end; k0 += kQuantizeLanes) {
      const i64 k = k0 + lane;
      u32 word = 0;
      if (k < end) {
        const u32 code = code_of_value<Code>(quantized_value<Code>(unaligned_value<T>(a.src, first + k), best), best);
        word = code << code_shift(lane % kPerWord, Code::kBits, a.interleave == kFragmentRows);
      }
#pragma unroll
      for (int offset = 1; offset < kPerWord; offset *= 2) word |= __shfl_xor_sync(kAllLanes, word, offset);
      if (k < end && lane % kPerWord == 0)
        static_cast<u32*>(a.dst_codes)[word_index(a.dst_row + row, k / kPerWord, a.k, Code::kBits, a.interleave)] = word;
    }
    if (lane == 0) store_group<S>(a, row, group, best);
  }
}

// 16 lanes take a row. A warp's two rows are done together, so that its lanes stay together: a row beyond the tensor is
// done twice. Tile: y = block of 16 destination rows, from that of dst_row on. 256 threads.
template <typename Code, typename S>
KERNEL_FN void quantize(const QuantizeArgs& a, Tile tile, char*) {
  const i64 block = a.dst_row / kQuantizeLanes + tile.y;
  const i64 row = block * kQuantizeLanes + threadIdx.x / kQuantizeLanes - a.dst_row;
  const i64 inside = min_of(max_of(row, i64{0}), a.rows - 1);
  if (a.src_type == 0)
    quantize_row<Code, S, float>(a, inside);
  else if (a.src_type == 1)
    quantize_row<Code, S, f16>(a, inside);
  else
    quantize_row<Code, S, bf16>(a, inside);
}
