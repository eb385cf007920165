// Linear layers of many tokens on AMX; a tile of the grid is kColumns outputs of kRows rows.
#pragma once

#include "x86/amx_products.h"
#include "x86/linear.h"

template <typename W, typename X, i64 kRows, i64 kColumns, i64 kDepth>
KERNEL_FN void linear_amx(const LinearArgs& a, Tile tile) {
  const OutputTile t = OutputTile::of(a, tile, a.n, kRows, kColumns);
  if (t.rows <= 0) return;
  alignas(64) float kept[kRows * kColumns];
  const auto finish = [&](i64 row, i64 block, f32x16 first, f32x16 second) {
    store_outputs<W>(a, row, block * kPackRows, first);
    if (block + 1 < t.blocks) store_outputs<W>(a, row, (block + 1) * kPackRows, second);
  };
  DensePanels panels = DensePanels::of(a, nullptr, kDepth / kTileK);
  RowPanels<X, kRows, kDepth> x(a.x, a.k, t.row, t.rows);
  configure_tiles();
  amx_products<Neighbours, kDepth>(x, a.k, t.row, t.rows, panels, t.first, t.count, t.blocks, kept, finish);
  release_tiles();
}

template <typename Code, typename S, typename X, i64 kRows, i64 kColumns, i64 kDepth>
KERNEL_FN void linear_quantized_amx(const LinearQuantizedArgs& a, Tile tile) {
  const OutputTile t = OutputTile::of(a, tile, a.n, kRows, kColumns);
  if (t.rows <= 0) return;
  using Panels = UnpackedPanels<Code, S>;
  alignas(64) float kept[kRows * kColumns];
  alignas(64) char scratch[Panels::kScratch * kDepth / kTileK];
  const auto finish = [&](i64 row, i64 block, f32x16 first, f32x16 second) {
    store_quantized(a, row, block * kQuantizedRows, first);
    if (block + 1 < t.blocks) store_quantized(a, row, (block + 1) * kQuantizedRows, second);
  };
  Panels panels = Panels::of(a, scratch, kDepth / kTileK);
  RowPanels<X, kRows, kDepth> x(a.x, a.k, t.row, t.rows);
  configure_tiles();
  amx_products<Neighbours, kDepth>(x, a.k, t.row, t.rows, panels, t.first, t.count, t.blocks, kept, finish);
  release_tiles();
}
