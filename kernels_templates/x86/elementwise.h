// glu and the unfused elementwise kernels.
#pragma once

#include "x86/operand.h"

constexpr i64 kElementwiseTile = 1024;  // columns per tile; tile_cols in variants.inl

KERNEL_FN f32x16 silu16(f32x16 x) { return x / (1.0f + exp16(-x)); }
KERNEL_FN float silu1(float x) { return x / (1.0f + exp1(-x)); }

template <typename X>
KERNEL_FN void glu(const GluArgs& a, Tile tile) {
  const i64 r = tile.y;
  if (r >= a.counts->rows[kRowsTokens]) return;
  const float *gate = a.gate + r * a.gate_stride, *up = a.up + r * a.up_stride;
  const Operand<X> out = Operand<X>::at(a.out, a.inter);
  const i64 end = min_of((tile.x + 1) * kElementwiseTile, a.inter);
  i64 i = tile.x * kElementwiseTile;
  for (; i + 16 <= end; i += 16) out.store16(r, i, silu16(load16(gate + i)) * load16(up + i));
  for (; i < end; ++i) out.store1(r, i, silu1(gate[i]) * up[i]);
}

enum class Elementwise { kAdd, kMul, kSilu };

template <typename X, Elementwise kOp>
KERNEL_FN void elementwise(const ElementwiseArgs& a, Tile tile) {
  const i64 r = tile.y;
  if (r >= a.counts->rows[a.row_count]) return;
  const float *x = a.a + r * a.a_stride, *y = a.b + r * a.b_stride;
  X* out = static_cast<X*>(a.out) + r * a.width;
  const i64 end = min_of((tile.x + 1) * kElementwiseTile, a.width);
  for (i64 i = tile.x * kElementwiseTile; i < end; ++i) {
    const float v = kOp == Elementwise::kAdd ? x[i] + y[i] : kOp == Elementwise::kMul ? x[i] * y[i] : silu1(x[i]);
    out[i] = from_float<X>(v);
  }
}

KERNEL_FN void add(const ElementwiseArgs& a, Tile tile) { elementwise<float, Elementwise::kAdd>(a, tile); }
template <typename X>
KERNEL_FN void mul(const ElementwiseArgs& a, Tile tile) { elementwise<X, Elementwise::kMul>(a, tile); }
KERNEL_FN void silu(const ElementwiseArgs& a, Tile tile) { elementwise<float, Elementwise::kSilu>(a, tile); }
