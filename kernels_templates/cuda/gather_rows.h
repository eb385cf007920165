// Gathers the rows that logits are wanted of, and columns in the order of a quantized weight: see GatherRowsArgs,
// GatherColumnsArgs.
#pragma once

#include "cuda/types.h"

// Tile: y = logit row. 256 threads.
KERNEL_FN void gather_rows(const GatherRowsArgs& args, Tile tile, char*) {
  const i64 row = tile.y;
  if (row >= args.counts->rows[kRowsLogits]) return;
  const float* x = args.x + args.rows[row] * args.width;
  float* out = args.out + row * args.width;
  if (args.width % 4 == 0) {
    for (i64 i = threadIdx.x; i < args.width / 4; i += kRowThreads) {
      reinterpret_cast<float4*>(out)[i] = reinterpret_cast<const float4*>(x)[i];
    }
  } else {
    for (i64 i = threadIdx.x; i < args.width; i += kRowThreads) out[i] = x[i];
  }
}

// Tile: x = 256 columns, y = row. 256 threads.
KERNEL_FN void gather_columns(const GatherColumnsArgs& args, Tile tile, char*) {
  const i64 row = tile.y, i = tile.x * 256ll + threadIdx.x;
  if (row >= args.counts->rows[args.row_count] || i >= args.width) return;
  args.out[row * args.width + i] = args.x[row * args.x_stride + args.order[i]];
}
