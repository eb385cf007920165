// quantize_rows: activations in int8. See QuantizeRowsArgs.
#pragma once

// clang-format off: the types come first
#include "x86/simd.h"
#include "quantized_weights.h"
#include "x86/int8_panels.h"
// clang-format on

// 16 codes in the order of int8_position.
KERNEL_FN s8x16 int8_order(s8x16 v, i64 bits) {
  if (bits == 4) return __builtin_shufflevector(v, v, 0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
  if (bits == 2) return __builtin_shufflevector(v, v, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return v;
}

struct RowScale {
  float scale, inverse;
  KERNEL_FN RowScale of(float maximum) {
    if (!(maximum > kLeastQuantizedMax)) return {0.0f, 0.0f};
    return {maximum / 127.0f, 127.0f / maximum};
  }
};

// 16 columns times `inverse` as codes; returns them in the order of the columns.
KERNEL_FN i32x16 store_codes(signed char* codes, const float* x, float inverse, i64 bits) {
  const i32x16 code = __builtin_convertvector(__builtin_elementwise_rint(load16(x) * inverse), i32x16);
  store(codes, int8_order(__builtin_convertvector(code, s8x16), bits));
  return code;
}

KERNEL_FN i32 sum_of(i32x16 v) {
  i32 total = 0;
  for (int j = 0; j < 16; ++j) total += v[j];
  return total;
}

KERNEL_FN float largest_magnitude(const float* x, i64 count) {
  f32x16 maxima{};
  for (i64 i = 0; i < count; i += 16) maxima = larger_magnitudes(maxima, load16(x + i));
  return max_of(maxima);
}

KERNEL_FN void quantize_rows(const QuantizeRowsArgs& a, Tile tile) {
  const i64 row = tile.y, groups = a.width / a.group, sums = a.width / kInt8SumColumns;
  if (row >= a.counts->rows[a.row_count]) return;
  const float* x = a.x + row * a.x_stride;
  for (i64 k = 0; k < a.width; k += a.group) {
    const RowScale scale = RowScale::of(largest_magnitude(x + k, a.group));
    a.scales[row * groups + k / a.group] = scale.scale;
    for (i64 i = k; i < k + a.group; i += kInt8SumColumns) {
      signed char* codes = a.codes + row * a.width + i;
      const i32x16 first = store_codes(codes, x + i, scale.inverse, a.bits);
      const i32x16 second = store_codes(codes + 16, x + i + 16, scale.inverse, a.bits);
      a.sums[row * sums + i / kInt8SumColumns] = sum_of(first + second);
    }
  }
}

// The same in the order of x86/int8_panels.h.
KERNEL_FN void quantize_rows_panels(const QuantizeRowsArgs& a, Tile tile) {
  const i64 row = tile.y;
  if (row >= a.counts->rows[a.row_count]) return;
  const float* x = a.x + row * a.x_stride;
  const Int8Panels panels{{a.codes, a.scales, a.sums, a.group}, a.width};
  for (i64 k = 0; k < a.width; k += a.group) {
    const RowScale scale = RowScale::of(largest_magnitude(x + k, a.group));
    i32x16 sums{};
    for (i64 i = k; i < k + a.group; i += 16) {
      const i64 at = panels.code_index(row, i);
      sums += store_codes(a.codes + at, x + i, scale.inverse, a.bits);
    }
    const i64 at = panels.group_index(row, k);
    a.scales[at] = scale.scale, a.sums[at] = sum_of(sums);
  }
}
