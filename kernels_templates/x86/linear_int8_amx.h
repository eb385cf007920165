// Linear layers of many tokens, of int8 activations on integer codes, on AMX; a tile of the grid is kColumns outputs of
// kRows rows.
#pragma once

#include "x86/amx_int8.h"
#include "x86/elementwise.h"

template <typename Code, typename S, i64 kRows, i64 kColumns, i64 kDepth>
KERNEL_FN void linear_int8_amx(const LinearQuantizedArgs& a, Tile tile) {
  const OutputTile t = OutputTile::of(a, tile, a.n, kRows, kColumns);
  if (t.rows <= 0) return;
  alignas(64) float kept[kRows * kColumns];
  const auto finish = [&](i64 row, i64 block, f32x16 first, f32x16 second) {
    store_quantized(a, row, block * kQuantizedRows, first);
    if (block + 1 < t.blocks) store_quantized(a, row, (block + 1) * kQuantizedRows, second);
  };
  BytePanels<Code, S, kDepth> panels(a);
  Int8RowPanels x(a, t.row);
  configure_tiles();
  amx_products<Neighbours, Int8Product, kDepth>(x, a.k, t.row, t.rows, panels, t.first, t.count, t.blocks, kept, finish);
  release_tiles();
}

// linear_int8_glu: silu(gate) * up behind the projection that holds both, gate above up, each a whole number of blocks.
template <typename Code, typename S, i64 kRows, i64 kColumns, i64 kDepth>
KERNEL_FN void linear_int8_glu_amx(const LinearQuantizedArgs& a, Tile tile) {
  const i64 half = a.n / 2;
  const OutputTile t = OutputTile::of(a, tile, half, kRows, kColumns);
  if (t.rows <= 0) return;
  alignas(64) float kept[kRows * kColumns * 2];
  const auto finish = [&](i64 row, i64 block, f32x16 gate, f32x16 up) {
    store16(a.out + row * half + block * kQuantizedRows, silu16(gate) * up);
  };
  BytePanels<Code, S, kDepth> panels(a);
  Int8RowPanels x(a, t.row);
  configure_tiles();
  amx_products<GateAndUp, Int8Product, kDepth>(x, a.k, t.row, t.rows, panels, t.first, t.count, t.blocks, kept, finish);
  release_tiles();
}
