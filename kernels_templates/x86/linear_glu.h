// linear_glu: silu(gate) * up behind the projection that holds both, gate above up. See FusedLinearArgs; no squares on
// x86.
#pragma once

#include "x86/elementwise.h"
#include "x86/linear_amx.h"

template <typename W, typename X>
KERNEL_FN float dot_of_row(const FusedLinearArgs& a, i64 row, i64 n) {
  constexpr i64 kGroup = kPackGroup<W>;
  const W* w = static_cast<const W*>(a.w) + n / kPackRows * kPackRows * packed_k<W>(a.k) + n % kPackRows * kGroup;
  const X* x = static_cast<const X*>(a.x) + row * a.k;
  float acc = a.bias ? to_float(static_cast<const W*>(a.bias)[n]) : 0.0f;
  for (i64 k = 0; k < a.k; ++k) acc += to_float(w[k / kGroup * kPackRows * kGroup + k % kGroup]) * to_float(x[k]);
  return acc;
}

// The reference: one output at a time.
template <typename W, typename X>
KERNEL_FN void linear_glu_naive(const FusedLinearArgs& a, Tile tile) {
  const i64 row = tile.y, n = tile.x, half = a.n / 2;
  if (row >= a.counts->rows[a.row_count] || n >= half) return;
  static_cast<X*>(a.out)[row * half + n] =
      from_float<X>(silu1(dot_of_row<W, X>(a, row, n)) * dot_of_row<W, X>(a, row, half + n));
}

template <typename W, typename X, i64 kRows, i64 kColumns, i64 kDepth>
KERNEL_FN void linear_glu_amx(const FusedLinearArgs& a, Tile tile) {
  const i64 half = a.n / 2;
  const AmxTile t = AmxTile::of(a, tile, half, kRows, kColumns);
  if (t.rows <= 0) return;
  if (half % kPackRows != 0) {  // up does not begin with a block
    for (i64 r = t.row; r < t.row + t.rows; ++r)
      for (i64 n = t.first * kPackRows; n < min_of((t.first + t.count) * kPackRows, half); ++n)
        linear_glu_naive<W, X>(a, Tile{static_cast<u32>(n), static_cast<u32>(r), 0});
    return;
  }
  alignas(64) bf16 packed[kRows * kDepth];
  alignas(64) float kept[kRows * kColumns * 2];
  const W* bias = static_cast<const W*>(a.bias);
  const auto finish = [&](i64 row, i64 block, f32x16 gate, f32x16 up) {
    if (bias) gate += load16(bias + block * kPackRows), up += load16(bias + half + block * kPackRows);
    store16(static_cast<X*>(a.out) + row * half + block * kPackRows, silu16(gate) * up);
  };
  DensePanels panels = DensePanels::of(a, nullptr, kDepth / kTileK);
  configure_tiles();
  amx_products<X, DensePanels, GateAndUp, kDepth>(static_cast<const X*>(a.x), a.k, t.row, t.rows, panels, t.first,
                                                  t.count, t.blocks, packed, kept, finish);
  release_tiles();
}
