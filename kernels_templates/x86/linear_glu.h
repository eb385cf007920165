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
  Operand<X>::at(a.out, half).store1(row, n, silu1(dot_of_row<W, X>(a, row, n)) * dot_of_row<W, X>(a, row, half + n));
}

// The second half of the projection begins with a block: its width is a multiple of 16.
template <typename X, i64 kRows, i64 kColumns, i64 kDepth, typename Panels>
KERNEL_FN void glu_products(const FusedLinearArgs& a, const OutputTile& t, Panels& panels, const Operand<X>& out,
                            const auto& with_bias) {
  alignas(64) float kept[kRows * kColumns * 2];
  const auto finish = [&](i64 row, i64 block, f32x16 gate, f32x16 up) {
    with_bias(block * kPackRows, gate, up);
    out.store16(row, block * kPackRows, silu16(gate) * up);
  };
  RowPanels<X, kRows, kDepth> x(a.x, a.k, t.row, t.rows);
  configure_tiles();
  amx_products<GateAndUp, kDepth>(x, a.k, t.row, t.rows, panels, t.first, t.count, t.blocks, kept, finish);
  release_tiles();
}

template <typename W, typename X, i64 kRows, i64 kColumns, i64 kDepth>
KERNEL_FN void linear_glu_amx(const FusedLinearArgs& a, Tile tile) {
  const i64 half = a.n / 2;
  const OutputTile t = OutputTile::of(a, tile, half, kRows, kColumns);
  if (t.rows <= 0) return;
  if constexpr (!kInPanels<X>) {
    if (half % kPackRows != 0) {
      for (i64 r = t.row; r < t.row + t.rows; ++r)
        for (i64 n = t.first * kPackRows; n < min_of((t.first + t.count) * kPackRows, half); ++n)
          linear_glu_naive<W, X>(a, Tile{static_cast<u32>(n), static_cast<u32>(r), 0});
      return;
    }
  }
  const W* bias = static_cast<const W*>(a.bias);
  const auto with_bias = [&](i64 n, f32x16& gate, f32x16& up) {
    if (bias) gate += load16(bias + n), up += load16(bias + half + n);
  };
  DensePanels panels = DensePanels::of(a, nullptr, kDepth / kTileK);
  glu_products<X, kRows, kColumns, kDepth>(a, t, panels, Operand<X>::at(a.out, half), with_bias);
}

// quantized_glu: the same with a quantized weight and no bias; inputs and outputs are panels.
template <typename Code, typename S, typename X, i64 kRows, i64 kColumns, i64 kDepth>
KERNEL_FN void quantized_glu_amx(const QuantizedFusedArgs& a, Tile tile) {
  const FusedLinearArgs& l = a.linear;
  const i64 half = l.n / 2;
  const OutputTile t = OutputTile::of(l, tile, half, kRows, kColumns);
  if (t.rows <= 0) return;
  using Panels = UnpackedPanels<Code, S>;
  alignas(64) char scratch[Panels::kScratch * kDepth / kTileK];
  const LinearQuantizedArgs weight{.codes = l.w,
                                   .scales = a.groups.scales,
                                   .zeros = a.groups.zeros,
                                   .k = l.k,
                                   .group = a.groups.group,
                                   .zero = a.groups.zero};
  Panels panels = Panels::of(weight, scratch, kDepth / kTileK);
  glu_products<X, kRows, kColumns, kDepth>(l, t, panels, Operand<X>::at(l.out, half), [](i64, f32x16&, f32x16&) {});
}
