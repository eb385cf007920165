// rms_norm and add_rms_norm. The sum of squares is accumulated in 16 lanes, then reduced in a fixed order.
#pragma once

#include "x86/operand.h"

KERNEL_FN float inverse_rms(const float* x, i64 width, double eps) {
  f32x16 acc0{}, acc1{};
  i64 i = 0;
  for (; i + 32 <= width; i += 32) {
    const f32x16 a = load16(x + i), b = load16(x + i + 16);
    acc0 = fma16(a, a, acc0);
    acc1 = fma16(b, b, acc1);
  }
  float total = sum(acc0 + acc1);
  for (; i < width; ++i) total += x[i] * x[i];
  return 1.0f / __builtin_sqrtf(total / static_cast<float>(width) + static_cast<float>(eps));
}

template <typename W, typename X>
KERNEL_FN void scale_row(const float* x, const W* weight, Operand<X> out, i64 row, i64 column, i64 width,
                         float inverse) {
  i64 i = 0;
  for (; i + 16 <= width; i += 16) out.store16(row, column + i, load16(x + i) * inverse * load16(weight + i));
  for (; i < width; ++i) out.store1(row, column + i, x[i] * inverse * to_float(weight[i]));
}

template <typename W, typename X>
KERNEL_FN void rms_norm(const RmsNormArgs& a, Tile tile) {
  const i64 r = tile.y;
  if (r >= a.counts->rows[a.row_count]) return;
  for (i64 g = 0; g < a.groups; ++g) {
    const float* x = a.x + r * a.x_stride + g * a.width;
    scale_row(x, static_cast<const W*>(a.weight), Operand<X>::at(a.out, a.groups * a.width), r, g * a.width, a.width,
              inverse_rms(x, a.width, a.eps));
  }
}

template <typename W, typename X>
KERNEL_FN void add_rms_norm(const AddRmsNormArgs& a, Tile tile) {
  const i64 r = tile.y;
  if (r >= a.counts->rows[a.row_count]) return;
  const float *residual = a.residual + r * a.width, *delta = a.delta + r * a.width;
  float* sum = a.sum + r * a.width;
  for (i64 i = 0; i < a.width; ++i) sum[i] = residual[i] + delta[i];
  scale_row(sum, static_cast<const W*>(a.weight), Operand<X>::at(a.out, a.width), r, 0, a.width,
            inverse_rms(sum, a.width, a.eps));
}
