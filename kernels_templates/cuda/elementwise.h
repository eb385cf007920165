// The unfused elementwise kernels, for plans with a fusion disabled: see ElementwiseArgs. One value a thread.
#pragma once

#include "cuda/glu.h"

template <typename Out, typename F>
KERNEL_FN void elementwise(const ElementwiseArgs& args, Tile tile, F f) {
  const i64 row = tile.y;
  const i64 column = tile.x * 256ll + threadIdx.x;
  if (row >= args.counts->rows[args.row_count] || column >= args.width) return;
  static_cast<Out*>(args.out)[row * args.width + column] =
      from_float<Out>(f(row * args.a_stride + column, row * args.b_stride + column));
}

// Tile of each: x = 256 columns, y = row. 256 threads.
KERNEL_FN void add(const ElementwiseArgs& args, Tile tile, char*) {
  elementwise<float>(args, tile, [&](i64 a, i64 b) { return args.a[a] + args.b[b]; });
}

template <typename W>
KERNEL_FN void bias_add(const BiasAddArgs& args, Tile tile, char*) {
  const i64 row = tile.y;
  const i64 column = tile.x * 256ll + threadIdx.x;
  if (row >= args.counts->rows[args.row_count] || column >= args.width) return;
  args.out[row * args.width + column] += to_float(static_cast<const W*>(args.bias)[column]);
}

template <typename A>
KERNEL_FN void mul(const ElementwiseArgs& args, Tile tile, char*) {
  elementwise<A>(args, tile, [&](i64 a, i64 b) { return args.a[a] * args.b[b]; });
}

KERNEL_FN void silu(const ElementwiseArgs& args, Tile tile, char*) {
  elementwise<float>(args, tile, [&](i64 a, i64) { return silu_of(args.a[a]); });
}
