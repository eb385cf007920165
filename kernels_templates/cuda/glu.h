// SiLU gate: see GluArgs.
#pragma once

#include "cuda/types.h"

KERNEL_FN float silu_of(float x) { return x / (1.0f + expf(-x)); }

// Reference: one value a thread. Tile: x = 256 columns, y = token. 256 threads.
template <typename A>
KERNEL_FN void glu_naive(const GluArgs& args, Tile tile, char*) {
  const i64 row = tile.y;
  const i64 column = tile.x * 256ll + threadIdx.x;
  if (row >= args.counts->rows[kRowsTokens] || column >= args.inter) return;
  static_cast<A*>(args.out)[row * args.inter + column] =
      from_float<A>(silu_of(args.gate[row * args.gate_stride + column]) * args.up[row * args.up_stride + column]);
}

// 16-byte accesses. Tile: x = 2048 columns, y = token. 256 threads.
template <typename A>
KERNEL_FN void glu(const GluArgs& args, Tile tile, char*) {
  const i64 row = tile.y;
  if (row >= args.counts->rows[kRowsTokens]) return;
  const float* gate = args.gate + row * args.gate_stride;
  const float* up = args.up + row * args.up_stride;
  A* out = static_cast<A*>(args.out) + row * args.inter;
  const i64 begin = tile.x * 2048ll;
  if (args.inter % 8 == 0 && aligned16(args.gate, args.gate_stride) && aligned16(args.up, args.up_stride)) {
    const i64 i = begin + threadIdx.x * 8;
    if (i >= args.inter) return;
    float g[8], u[8];
    unpack8(load8(gate + i), g);
    unpack8(load8(up + i), u);
#pragma unroll
    for (int j = 0; j < 8; ++j) g[j] = silu_of(g[j]) * u[j];
    store8(out + i, g);
  } else {
    const i64 end = min_of(begin + 2048, args.inter);
    for (i64 i = begin + threadIdx.x; i < end; i += 256) out[i] = from_float<A>(silu_of(gate[i]) * up[i]);
  }
}
