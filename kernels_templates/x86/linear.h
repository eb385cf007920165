// Linear layers on interleaved weights (x86/pack.h): each 64-byte load of weights holds one group of K for 16 outputs, and a broadcast
// activation multiplies all of them. Accumulation is fp32.
#pragma once

#include "x86/pack.h"
#include "x86/simd.h"

// One group of K for the 16 rows of a block: G vectors of 16 widened weights.
template <typename W>
struct WeightGroup;
template <>
struct WeightGroup<float> {
  f32x16 w[1];
  KERNEL_FN WeightGroup load(const float* p) { return {{load16(p)}}; }
};
template <>
struct WeightGroup<bf16> {
  f32x16 w[2];
  KERNEL_FN WeightGroup load(const bf16* p) {
    const u32x16 pair = ::load<u32x16>(p);
    return {{__builtin_bit_cast(f32x16, pair << 16), __builtin_bit_cast(f32x16, pair & 0xffff0000u)}};
  }
};
template <>
struct WeightGroup<f16> {
  f32x16 w[2];
  KERNEL_FN WeightGroup load(const f16* p) {
    const u32x16 pair = ::load<u32x16>(p);
    const u16x16 low = __builtin_convertvector(pair, u16x16), high = __builtin_convertvector(pair >> 16, u16x16);
    return {{__builtin_convertvector(__builtin_bit_cast(f16x16, low), f32x16),
             __builtin_convertvector(__builtin_bit_cast(f16x16, high), f32x16)}};
  }
};

template <typename W>
KERNEL_FN void store_outputs(const LinearArgs& a, i64 row, i64 n, f32x16 acc) {
  float* out = a.out + row * a.n + n;
  const W* bias = static_cast<const W*>(a.bias);
  if (n + kPackRows <= a.n) {
    store16(out, bias ? acc + load16(bias + n) : acc);
    return;
  }
  for (i64 i = 0; i < a.n - n; ++i) out[i] = acc[i] + (bias ? to_float(bias[n + i]) : 0.0f);
}

// kRows activation rows times kBlocks blocks of 16 outputs.
template <typename W, typename X, int kRows, int kBlocks>
KERNEL_FN void linear_tile(const LinearArgs& a, i64 row, i64 block) {
  constexpr i64 kGroup = kPackGroup<W>;
  const i64 kp = packed_k<W>(a.k), stride = kPackRows * kp;
  const W* w = static_cast<const W*>(a.w) + block * stride;
  const X* x = static_cast<const X*>(a.x) + row * a.k;
  // Few outputs take a chain per K of a group, to cover the latency of the FMA units; many outputs need the registers.
  constexpr i64 kChains = kRows * kBlocks >= 4 ? 1 : kGroup;
  f32x16 acc[kRows][kBlocks][kChains] = {};
  const i64 whole = a.k / kGroup * kGroup;
  for (i64 k = 0; k < whole; k += kGroup) {
    WeightGroup<W> group[kBlocks];
    for (int b = 0; b < kBlocks; ++b) group[b] = WeightGroup<W>::load(w + b * stride + k * kPackRows);
    for (int r = 0; r < kRows; ++r)
      for (int g = 0; g < kGroup; ++g) {
        const f32x16 v = splat(to_float(x[r * a.k + k + g]));
        for (int b = 0; b < kBlocks; ++b) acc[r][b][g % kChains] = fma16(group[b].w[g], v, acc[r][b][g % kChains]);
      }
  }
  for (i64 k = whole; k < a.k; ++k)  // at most one group, whose padding is zero
    for (int b = 0; b < kBlocks; ++b) {
      const WeightGroup<W> group = WeightGroup<W>::load(w + b * stride + whole * kPackRows);
      for (int r = 0; r < kRows; ++r) acc[r][b][0] = fma16(group.w[k - whole], splat(to_float(x[r * a.k + k])), acc[r][b][0]);
    }
  for (int r = 0; r < kRows; ++r)
    for (int b = 0; b < kBlocks; ++b) {
      f32x16 total = acc[r][b][0];
      for (int g = 1; g < kChains; ++g) total += acc[r][b][g];
      store_outputs<W>(a, row + r, (block + b) * kPackRows, total);
    }
}

// A tile of kRows rows and kBlocks * 16 columns, with narrower forms for what is left at the edges.
template <typename W, typename X, int kRows, int kBlocks>
KERNEL_FN void linear_rows(const LinearArgs& a, Tile tile) {
  const i64 rows = a.counts->rows[a.row_count], row = static_cast<i64>(tile.y) * kRows;
  if (row >= rows) return;
  const i64 blocks = (a.n + kPackRows - 1) / kPackRows, block = static_cast<i64>(tile.x) * kBlocks;
  if (row + kRows <= rows && block + kBlocks <= blocks) {
    linear_tile<W, X, kRows, kBlocks>(a, row, block);
    return;
  }
  for (i64 r = row; r < min_of(row + kRows, rows); ++r)
    for (i64 b = block; b < min_of(block + kBlocks, blocks); ++b) linear_tile<W, X, 1, 1>(a, r, b);
}

// The reference: one output at a time, from the definition of the layout.
template <typename W, typename X>
KERNEL_FN void linear_naive(const LinearArgs& a, Tile tile) {
  const i64 row = tile.y, n = tile.x;
  if (row >= a.counts->rows[a.row_count]) return;
  constexpr i64 kGroup = kPackGroup<W>;
  const W* w = static_cast<const W*>(a.w) + n / kPackRows * kPackRows * packed_k<W>(a.k) + n % kPackRows * kGroup;
  const X* x = static_cast<const X*>(a.x) + row * a.k;
  float acc = 0;
  for (i64 k = 0; k < a.k; ++k) acc += to_float(w[k / kGroup * kPackRows * kGroup + k % kGroup]) * to_float(x[k]);
  a.out[row * a.n + n] = acc + (a.bias ? to_float(static_cast<const W*>(a.bias)[n]) : 0.0f);
}
