// Linear layers for few tokens on tensor cores with fused norms, activations and residuals: linear_gemv_mma.h with the arguments and
// epilogues of FusedLinearArgs. sm_80 and later, 16-bit types.
#pragma once

#include "cuda/linear_epilogue.h"
#include "cuda/tensor_core.h"

// As linear_gemv_mma: the weight is the 16-row operand of mma m16n8k16 and goes from memory straight to its fragments; the eight warps
// share K, and their sums are added in warp order. A block's first weights are on their way before it asks for anything else.
// Tile: x = a unit of 16 weight rows (for glu 8 of gate and the 8 of up that belong to them), y = 8 * TokenTiles rows. 256
// threads; TokenTiles * 4384 bytes of shared memory. K is a multiple of 8.
template <typename W, typename A, typename KV, int TokenTiles, int Unroll, Epilogue Kind, typename Args>
KERNEL_FN void gemv_unit(const Args& all, Tile tile, char* shared) {
  constexpr int kWarps = 8, kDepth = 32, kUnit = 16, kTokens = 8 * TokenTiles, kStride = kUnit + 1;
  constexpr i64 kStep = kWarps * kDepth;
  float* partial = reinterpret_cast<float*>(shared);      // [warp, token, row]
  float* scale = partial + kWarps * kTokens * kStride;    // [token]
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int g = lane / 4, t = lane % 4;
  const FusedLinearArgs& args = linear_of(all);
  const i64 k = args.k, unit = tile.x;

  const W* w = static_cast<const W*>(args.w);
  const W* low_row = w + unit_row<Kind>(all, unit, 0, g) * k;
  const W* high_row = w + unit_row<Kind>(all, unit, 1, g) * k;
  uint4 low[Unroll], high[Unroll];
  const auto load_weights = [&](i64 i) {
#pragma unroll
    for (int u = 0; u < Unroll; ++u) {
      const bool valid = i + u * kStep < k;
      low[u] = valid ? load_streaming(low_row + i + u * kStep) : make_uint4(0, 0, 0, 0);
      high[u] = valid ? load_streaming(high_row + i + u * kStep) : make_uint4(0, 0, 0, 0);
    }
  };
  i64 i = warp * kDepth + t * 8;
  load_weights(i);

  const i64 row0 = static_cast<i64>(tile.y) * kTokens;
  const i64 rows = args.counts->rows[args.row_count] - row0;
  if (rows <= 0) return;
  const A* x[TokenTiles];
#pragma unroll
  for (int m = 0; m < TokenTiles; ++m) x[m] = static_cast<const A*>(args.x) + (row0 + min_of(i64{m * 8 + g}, rows - 1)) * k;
  for (int token = warp; token < kTokens; token += kWarps) {
    const float s = token < rows ? row_scale_of(args, row0 + token, lane) : 1.0f;
    if (lane == 0) scale[token] = s;
  }

  float sum[TokenTiles][4] = {};
  while (true) {
    uint4 token[Unroll][TokenTiles];
#pragma unroll
    for (int u = 0; u < Unroll; ++u) {
#pragma unroll
      for (int m = 0; m < TokenTiles; ++m) {
        const i64 at = i + u * kStep;
        token[u][m] = at < k ? *reinterpret_cast<const uint4*>(x[m] + at) : make_uint4(0, 0, 0, 0);
      }
    }
#pragma unroll
    for (int u = 0; u < Unroll; ++u) {
#pragma unroll
      for (int m = 0; m < TokenTiles; ++m) {
        mma_16816<W>(sum[m], low[u].x, high[u].x, low[u].y, high[u].y, token[u][m].x, token[u][m].y);
        mma_16816<W>(sum[m], low[u].z, high[u].z, low[u].w, high[u].w, token[u][m].z, token[u][m].w);
      }
    }
    i += Unroll * kStep;
    if (i - t * 8 >= k) break;
    load_weights(i);
  }

#pragma unroll
  for (int m = 0; m < TokenTiles; ++m) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      partial[(warp * kTokens + m * 8 + 2 * t + j % 2) * kStride + g + j / 2 * 8] = sum[m][j];
    }
  }
  __syncthreads();
  // A half warp finishes one token.
  for (int token = warp * 2 + lane / kUnit; token - lane / kUnit < kTokens; token += kWarps * 2) {
    const bool exists = token < kTokens && token < rows;
    const float* sums = partial + (exists ? token * kStride + lane % kUnit : 0);
    float total = sums[0];
#pragma unroll
    for (int p = 1; p < kWarps; ++p) total += sums[p * kTokens * kStride];
    load_and_finish_unit<W, A, KV, Kind>(all, total * scale[exists ? token : 0], row0 + token, unit, exists, lane % kUnit);
  }
}

template <typename W, typename A, int TokenTiles, int Unroll, Epilogue Kind>
KERNEL_FN void linear_gemv_fused(const FusedLinearArgs& args, Tile tile, char* shared) {
  gemv_unit<W, A, float, TokenTiles, Unroll, Kind>(args, tile, shared);
}

template <typename W, typename A, typename KV, int TokenTiles, int Unroll>
KERNEL_FN void linear_gemv_rope(const LinearRopeArgs& args, Tile tile, char* shared) {
  gemv_unit<W, A, KV, TokenTiles, Unroll, Epilogue::kRope>(args, tile, shared);
}
