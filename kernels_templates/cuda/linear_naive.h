// Linear layer, the reference: one thread an output, products summed in order of k. See LinearArgs.
#pragma once

#include "cuda/types.h"

// Tile: x = 256 columns, y = row. 256 threads.
template <typename W, typename A>
KERNEL_FN void linear_naive(const LinearArgs& args, Tile tile, char*) {
  const i64 row = tile.y;
  const i64 column = tile.x * 256ll + threadIdx.x;
  if (row >= args.counts->rows[args.row_count] || column >= args.n) return;
  const A* x = static_cast<const A*>(args.x) + row * args.k;
  const W* w = static_cast<const W*>(args.w) + column * args.k;
  float sum = 0.0f;
  for (i64 i = 0; i < args.k; ++i) sum = fmaf(to_float(x[i]), to_float(w[i]), sum);
  if (args.bias) sum += to_float(static_cast<const W*>(args.bias)[column]);
  args.out[row * args.n + column] = sum;
}
