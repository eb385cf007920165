// Linear layer for few tokens on tensor cores, weights straight from memory to matrix fragments: sm_80 and later,
// 16-bit types. See LinearArgs.
#pragma once

#include "cuda/tensor_core.h"

// The weight is the 16-row operand of mma m16n8k16, the tokens are its 8 columns. A lane loads 16 bytes (8 values of k)
// of two weight rows and of one token: since weight and token use the same order, any assignment of k to fragment
// positions gives the same sum, so the loaded words are the fragments of two products and nothing passes through shared
// memory or is converted. The eight warps share K; their sums are added in warp order. Tile: x = 16 columns, y = 8 *
// TokenTiles rows. 256 threads; 4096 * TokenTiles bytes of shared memory. K is a multiple of 8.
template <typename W, typename A, int TokenTiles>
KERNEL_FN void linear_gemv_mma(const LinearArgs& args, Tile tile, char* shared) {
  constexpr int kWarps = 8, kDepth = 32, kColumns = 16;
  constexpr int kUnroll = TokenTiles == 1 ? 4 : 2;
  constexpr i64 kStep = kWarps * kDepth;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int g = lane / 4, t = lane % 4;
  const i64 rows = args.counts->rows[args.row_count];
  const i64 row0 = static_cast<i64>(tile.y) * 8 * TokenTiles, column0 = static_cast<i64>(tile.x) * kColumns;
  if (row0 >= rows) return;
  const i64 k = args.k;

  // Rows and columns beyond the matrix repeat its last one, and are not stored.
  const W* w = static_cast<const W*>(args.w);
  const W* w_low = w + min_of(column0 + g, args.n - 1) * k;
  const W* w_high = w + min_of(column0 + g + 8, args.n - 1) * k;
  const A* x[TokenTiles];
#pragma unroll
  for (int m = 0; m < TokenTiles; ++m) x[m] = static_cast<const A*>(args.x) + min_of(row0 + m * 8 + g, rows - 1) * k;

  float sum[TokenTiles][4] = {};
  for (i64 i = warp * kDepth + t * 8; i - t * 8 < k; i += kUnroll * kStep) {
    const uint4 zero = make_uint4(0, 0, 0, 0);
    uint4 low[kUnroll], high[kUnroll], token[kUnroll][TokenTiles];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const i64 at = i + u * kStep;
      const bool valid = at < k;
      low[u] = valid ? load_streaming(w_low + at) : zero;
      high[u] = valid ? load_streaming(w_high + at) : zero;
#pragma unroll
      for (int m = 0; m < TokenTiles; ++m) token[u][m] = valid ? *reinterpret_cast<const uint4*>(x[m] + at) : zero;
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
#pragma unroll
      for (int m = 0; m < TokenTiles; ++m) {
        mma_16816<W>(sum[m], low[u].x, high[u].x, low[u].y, high[u].y, token[u][m].x, token[u][m].y);
        mma_16816<W>(sum[m], low[u].z, high[u].z, low[u].w, high[u].w, token[u][m].z, token[u][m].w);
      }
    }
  }

  // [warp, token, column]
  constexpr int kOutputs = 8 * TokenTiles * kColumns;
  float* partial = reinterpret_cast<float*>(shared);
#pragma unroll
  for (int m = 0; m < TokenTiles; ++m) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      partial[warp * kOutputs + (m * 8 + 2 * t + j % 2) * kColumns + g + j / 2 * 8] = sum[m][j];
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kOutputs; i += kWarps * kWarp) {
    const i64 row = row0 + i / kColumns, column = column0 + i % kColumns;
    if (row >= rows || column >= args.n) continue;
    float total = partial[i];
#pragma unroll
    for (int p = 1; p < kWarps; ++p) total += partial[p * kOutputs + i];
    if (args.bias) total += to_float(static_cast<const W*>(args.bias)[column]);
    args.out[row * args.n + column] = total;
  }
}
