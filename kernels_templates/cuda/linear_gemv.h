// Linear layer for few tokens: bound by reading the weights once. See LinearArgs.
#pragma once

#include "cuda/types.h"

// A group of `KWarps` warps computes `Columns` outputs of each of `Rows` rows; its warps share K, and their partial
// sums are added in warp order. Weights come in 16-byte loads, `Columns` x `kUnroll` of them in flight per lane; the
// rows of x, which all warps read, stay in L1. More K warps give more bytes in flight when the matrix is short. Tile: x
// = 8 / KWarps * Columns columns, y = Rows rows. 256 threads; 4 * 8 * Rows * Columns bytes of shared memory.
template <typename W, typename A, int Rows, int Columns, int KWarps>
KERNEL_FN void linear_gemv(const LinearArgs& args, Tile tile, char* shared) {
  constexpr int kWarps = 8;
  constexpr int kGroups = kWarps / KWarps;
  constexpr int kUnroll = Rows * Columns > 8 || sizeof(W) == 4 ? 2 : 4;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int group = warp / KWarps, part = warp % KWarps;
  const i64 row0 = static_cast<i64>(tile.y) * Rows;
  const i64 rows = args.counts->rows[args.row_count];
  if (row0 >= rows) return;
  const i64 column0 = (static_cast<i64>(tile.x) * kGroups + group) * Columns;
  const i64 k = args.k;

  // Rows and columns beyond the matrix repeat its last one, and are not stored.
  const A* x[Rows];
#pragma unroll
  for (int r = 0; r < Rows; ++r) x[r] = static_cast<const A*>(args.x) + min_of(row0 + r, rows - 1) * k;
  const W* w[Columns];
#pragma unroll
  for (int c = 0; c < Columns; ++c) w[c] = static_cast<const W*>(args.w) + min_of(column0 + c, args.n - 1) * k;

  float sum[Rows][Columns] = {};
  const auto accumulate = [&](const Packed8<W>(&packed)[Columns], i64 i) {
    float weight[Columns][8];
#pragma unroll
    for (int c = 0; c < Columns; ++c) unpack8(packed[c], weight[c]);
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
      float value[8];
      unpack8(load8(x[r] + i), value);
#pragma unroll
      for (int c = 0; c < Columns; ++c) {
#pragma unroll
        for (int j = 0; j < 8; ++j) sum[r][c] = fmaf(value[j], weight[c][j], sum[r][c]);
      }
    }
  };

  if (k % 8 == 0) {
    constexpr i64 kStep = KWarps * kWarp * 8;
    i64 i = (part * kWarp + lane) * 8;
    for (; i + (kUnroll - 1) * kStep < k; i += kUnroll * kStep) {
      Packed8<W> packed[kUnroll][Columns];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
#pragma unroll
        for (int c = 0; c < Columns; ++c) packed[u][c] = load8_streaming(w[c] + i + u * kStep);
      }
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) accumulate(packed[u], i + u * kStep);
    }
    for (; i < k; i += kStep) {
      Packed8<W> packed[Columns];
#pragma unroll
      for (int c = 0; c < Columns; ++c) packed[c] = load8_streaming(w[c] + i);
      accumulate(packed, i);
    }
  } else {
    for (i64 i = part * kWarp + lane; i < k; i += KWarps * kWarp) {
#pragma unroll
      for (int c = 0; c < Columns; ++c) {
        const float weight = to_float(w[c][i]);
#pragma unroll
        for (int r = 0; r < Rows; ++r) sum[r][c] = fmaf(to_float(x[r][i]), weight, sum[r][c]);
      }
    }
  }

#pragma unroll
  for (int r = 0; r < Rows; ++r) {
#pragma unroll
    for (int c = 0; c < Columns; ++c) sum[r][c] = warp_sum(sum[r][c]);
  }
  float* partial = reinterpret_cast<float*>(shared);  // [group, part, Rows, Columns]
  constexpr int kOutputs = Rows * Columns;
  if (lane == 0) {
#pragma unroll
    for (int r = 0; r < Rows; ++r) {
#pragma unroll
      for (int c = 0; c < Columns; ++c) partial[warp * kOutputs + r * Columns + c] = sum[r][c];
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kGroups * kOutputs; i += kWarps * kWarp) {
    const int owner = i / kOutputs, output = i % kOutputs;
    const i64 row = row0 + output / Columns;
    const i64 column = (static_cast<i64>(tile.x) * kGroups + owner) * Columns + output % Columns;
    if (row >= rows || column >= args.n) continue;
    float total = partial[owner * KWarps * kOutputs + output];
    for (int p = 1; p < KWarps; ++p) total += partial[(owner * KWarps + p) * kOutputs + output];
    if (args.bias) total += to_float(static_cast<const W*>(args.bias)[column]);
    args.out[row * args.n + column] = total;
  }
}
