// quantize_rows: activations in int8. See QuantizeRowsArgs.
#pragma once

// clang-format off: the types come first
#include "x86/simd.h"
#include "quantized_weights.h"
// clang-format on

// 16 codes in the order of int8_position.
KERNEL_FN s8x16 int8_order(s8x16 v, i64 bits) {
  if (bits == 4) return __builtin_shufflevector(v, v, 0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
  if (bits == 2) return __builtin_shufflevector(v, v, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return v;
}

KERNEL_FN void quantize_rows(const QuantizeRowsArgs& a, Tile tile) {
  constexpr i64 kStep = 16;  // groups are multiples of 32
  const i64 row = tile.y, groups = a.width / a.group;
  if (row >= a.counts->rows[a.row_count]) return;
  const float* x = a.x + row * a.x_stride;
  signed char* codes = a.codes + row * a.width;
  for (i64 g = 0; g < groups; ++g, x += a.group, codes += a.group) {
    f32x16 maxima{};
    for (i64 i = 0; i < a.group; i += kStep) maxima = larger_magnitudes(maxima, load16(x + i));
    const float maximum = max_of(maxima);
    const bool zero = !(maximum > kLeastQuantizedMax);
    const float inverse = zero ? 0.0f : 127.0f / maximum;
    i32x16 sums{};
    for (i64 i = 0; i < a.group; i += kStep) {
      const i32x16 code = __builtin_convertvector(__builtin_elementwise_rint(load16(x + i) * inverse), i32x16);
      sums += code;
      store(codes + i, int8_order(__builtin_convertvector(code, s8x16), a.bits));
    }
    i32 total = 0;
    for (i64 j = 0; j < kStep; ++j) total += sums[j];
    a.scales[row * groups + g] = zero ? 0.0f : maximum / 127.0f;
    a.sums[row * groups + g] = total;
  }
}
