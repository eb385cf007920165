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

// Four values, at an address aligned to their size.
KERNEL_FN void store4(float* p, const float (&v)[4]) {
  *reinterpret_cast<float4*>(p) = make_float4(v[0], v[1], v[2], v[3]);
}
template <typename A>
KERNEL_FN void store4(A* p, const A (&v)[4]) {
  const auto pair = [](A low, A high) { return static_cast<u32>(low.bits) | static_cast<u32>(high.bits) << 16; };
  *reinterpret_cast<uint2*>(p) = {pair(v[0], v[1]), pair(v[2], v[3])};
}

// A thread takes four columns of each row; where they come from is known before x is there. Tile: x = 1024 columns,
// y = 4 rows. 256 threads.
template <typename A>
KERNEL_FN void gather_columns(const GatherColumnsArgs& args, Tile tile, char*) {
  constexpr int kColumns = 4, kRows = 4;
  const i64 first = (tile.x * 256ll + threadIdx.x) * kColumns;
  const bool whole = args.width % kColumns == 0;
  const int count = static_cast<int>(max_of(i64{0}, min_of(i64{kColumns}, args.width - first)));
  i32 order[kColumns] = {};
#pragma unroll
  for (int i = 0; i < kColumns; ++i)
    if (i < count) order[i] = args.order[first + i];
  dependency_wait();
  dependency_trigger();
  const i64 rows = args.counts->rows[args.row_count];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const i64 row = static_cast<i64>(tile.y) * kRows + r;
    if (row >= rows || count == 0) return;
    const A* x = static_cast<const A*>(args.x) + row * args.x_stride;
    A* out = static_cast<A*>(args.out) + row * args.width + first;
    A v[kColumns];
#pragma unroll
    for (int i = 0; i < kColumns; ++i) v[i] = x[order[i]];
    if (whole) {
      store4(out, v);
      continue;
    }
    for (int i = 0; i < count; ++i) out[i] = v[i];
  }
}
