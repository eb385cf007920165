// Tiles of the grid of a linear layer of many tokens, in blocks of 16 outputs.
#pragma once

#include "x86/pack.h"

struct OutputTile {
  i64 row, rows, first, count, blocks;  // `blocks`: of the whole layer
  template <typename Args>
  KERNEL_FN OutputTile of(const Args& a, Tile tile, i64 outputs, i64 tile_rows, i64 tile_columns) {
    OutputTile t;
    t.row = static_cast<i64>(tile.y) * tile_rows;
    t.rows = min_of(a.counts->rows[a.row_count] - t.row, tile_rows);
    t.blocks = (outputs + kPackRows - 1) / kPackRows;
    t.first = static_cast<i64>(tile.x) * (tile_columns / kPackRows);
    t.count = min_of(t.blocks - t.first, tile_columns / kPackRows);
    return t;
  }
};
