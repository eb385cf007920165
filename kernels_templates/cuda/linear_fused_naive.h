// Fused linear layers, the reference: one thread a product, summed in order of k. See FusedLinearArgs.
#pragma once

#include "cuda/linear_epilogue.h"

// Tile: x = 256 columns (glu: 128), y = row. 256 threads.
template <typename W, typename A, Epilogue Kind>
KERNEL_FN void linear_fused_naive(const FusedLinearArgs& args, Tile tile, char*) {
  constexpr bool kGlu = Kind == Epilogue::kGlu;
  const i64 row = tile.y;
  if (row >= args.counts->rows[args.row_count]) return;
  const int lane = threadIdx.x % 16;  // of the unit, see load_unit
  const i64 unit = tile.x * 16ll + threadIdx.x / 16, outputs = kGlu ? args.n / 2 : args.n;
  const i64 output = kGlu ? unit * 8 + lane % 8 : unit * 16 + lane;
  const float scale = row_scale_of(args, row, threadIdx.x % kWarp);
  float sum = 0.0f;
  if (output < outputs) {
    const A* x = static_cast<const A*>(args.x) + row * args.k;
    const W* w = static_cast<const W*>(args.w) + (kGlu && lane >= 8 ? outputs + output : output) * args.k;
    for (i64 i = 0; i < args.k; ++i) sum = fmaf(to_float(x[i]), to_float(w[i]), sum);
  }
  load_and_finish_unit<W, A, float, Kind>(args, sum * scale, row, unit, output - lane % (kGlu ? 8 : 16) < outputs, lane);
}
