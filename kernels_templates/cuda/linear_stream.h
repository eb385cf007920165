// Linear layers for few tokens, bound by reading the weights once: sm_90, 16-bit types. See FusedLinearArgs.
#pragma once

#include "cuda/hopper.h"
#include "cuda/linear_epilogue.h"

// One block per SM streams its share of the weight rows through a ring of asynchronous copies that never runs dry: it is filled
// before the wait for the launch before, and goes on filling while a tile's sums leave. The next launch is triggered with the last
// copies, so that its ring fills in the gap. Warps 0-7 share each stage's K; behind them 2 * Units warps fill, and the last one
// computes the row scales. The weight is the 16-row operand of mma m16n8k16 and the tokens are its 8 columns; as weights and
// tokens use the same order of k, 16 bytes of a row are the fragments of two products. Sums of the eight warps are added in warp
// order. Tile: y = 8 * TokenTiles rows, x of nx = a share of the columns. 288 + 64 * Units threads; Stages * (16 * Units + 8 *
// TokenTiles) * 576 + 256 * TokenTiles * (16 * Units + 1) + 32 * TokenTiles + 16 * Stages + 8 bytes of shared memory. K is a
// multiple of 8.
constexpr int kStreamDepth = 256, kStreamRowBytes = kStreamDepth * 2 + 64, kStreamWarps = 8;

template <typename W, typename A, typename KV, int Units, int TokenTiles, int Stages, Epilogue Kind, typename Args>
KERNEL_FN void stream_units(const Args& all, Tile tile, char* shared) {
  const FusedLinearArgs& args = linear_of(all);
  constexpr int kTokens = 8 * TokenTiles, kUnit = 16, kRows = Units * kUnit, kFillers = 2 * Units;
  constexpr int kStageBytes = (kRows + kTokens) * kStreamRowBytes;
  constexpr int kPartialStride = kRows + 1, kPartial = kTokens * kPartialStride;
  constexpr int kOutputsPerUnit = Kind == Epilogue::kGlu ? kUnit / 2 : kUnit;
  float* partial = reinterpret_cast<float*>(shared + Stages * kStageBytes);  // [warp, token, row]
  float* scale = partial + kStreamWarps * kPartial;                          // [token]
  const u32 ring = shared_address(shared);
  const u32 full = shared_address(scale + kTokens), empty = full + Stages * 8, scaled = empty + Stages * 8;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;

  const u32 k = static_cast<u32>(args.k), chunks = (k + kStreamDepth - 1) / kStreamDepth;
  const i64 outputs = Kind == Epilogue::kGlu ? args.n / 2 : args.n;
  const i64 units = (outputs + kOutputsPerUnit - 1) / kOutputsPerUnit;
  const i64 unit_begin = units * tile.x / tile.nx, unit_end = units * (tile.x + 1) / tile.nx;
  const u32 tiles = static_cast<u32>((unit_end - unit_begin + Units - 1) / Units);
  const i64 row0 = static_cast<i64>(tile.y) * kTokens;
  const i64 rows = args.counts->rows[args.row_count] - row0;  // no launch of a forward program writes the counts

  if (threadIdx.x == 0) {
    for (int s = 0; s < Stages; ++s) {
      mbarrier_init(full + s * 8, kFillers * kWarp);
      mbarrier_init(empty + s * 8, kStreamWarps);
    }
    mbarrier_init(scaled, 1);
    fence_barrier_init();
  }
  __syncthreads();
  if (rows <= 0) {
    dependency_wait();
    dependency_trigger();
    return;
  }

  if (warp >= kStreamWarps + kFillers) {
    dependency_wait();
    for (int token = 0; token < kTokens; ++token) {
      const float s = token < rows ? row_scale_of(args, row0 + token, lane) : 1.0f;
      if (lane == 0) scale[token] = s;
    }
    if (lane == 0) mbarrier_arrive(scaled);
    return;
  }
  if (warp >= kStreamWarps) {
    // Each filling warp copies eight rows of a tile, half a unit.
    const int filler = warp - kStreamWarps, half = filler % 2;
    const char* w = static_cast<const char*>(args.w);
    const i64 row_bytes = args.k * 2;
    const u32 steps = tiles * chunks, ahead = steps < Stages ? steps : Stages;
    const auto copy_weights = [&](u32 step) {
      const i64 unit = unit_begin + step / chunks * Units + filler / 2;
      if (unit >= unit_end) return;
      const u32 at = step % chunks * kStreamDepth + lane * 8;
      const bool valid = at < k;
      const i64 first = unit_row<Kind>(all, unit, half, 0);
      const int last = static_cast<int>(unit_row<Kind>(all, unit, half, 7) - first);
      const char* source = w + first * row_bytes + (valid ? at * 2ll : 0);
      const u32 destination = ring + step % Stages * kStageBytes + filler * 8 * kStreamRowBytes + lane * 16;
#pragma unroll
      for (int r = 0; r < 8; ++r)
        copy_async16_streaming(destination + r * kStreamRowBytes, source + min_of(r, last) * row_bytes, valid);
    };
    for (u32 step = 0; step < ahead; ++step) copy_weights(step);

    dependency_wait();
    const int tokens = static_cast<int>(min_of(rows, i64{kTokens}));
    const char* x = static_cast<const char*>(args.x) + row0 * row_bytes;
    const auto copy_tokens = [&](u32 step) {
      const u32 at = step % chunks * kStreamDepth + lane * 8;
      const bool valid = at < k;
      const u32 destination = ring + step % Stages * kStageBytes + kRows * kStreamRowBytes + lane * 16;
      for (int r = filler; r < tokens; r += kFillers)
        copy_async16(destination + r * kStreamRowBytes, x + r * row_bytes + (valid ? at * 2ll : 0), valid);
      copy_async_arrive(full + step % Stages * 8);
    };
    for (u32 step = 0; step < ahead; ++step) copy_tokens(step);
    for (u32 step = ahead; step < steps; ++step) {
      mbarrier_wait(empty + step % Stages * 8, (step / Stages - 1) & 1);
      copy_weights(step);
      copy_tokens(step);
    }
    dependency_trigger();
    copy_async_wait_all();
    return;
  }

  dependency_wait();
  const int g = lane / 4, t = lane % 4;
  const u32 offset = warp * 64 + t * 16;  // of this lane's 8 values within a stage's row
  u32 token_at[TokenTiles];
#pragma unroll
  for (int m = 0; m < TokenTiles; ++m) {
    token_at[m] = (kRows + static_cast<u32>(min_of(i64{m * 8 + g}, rows - 1))) * kStreamRowBytes + offset;
  }
  u32 step = 0;
  for (u32 i = 0; i < tiles; ++i) {
    float sum[Units][TokenTiles][4] = {};
    for (u32 chunk = 0; chunk < chunks; ++chunk, ++step) {
      const u32 stage = step % Stages;
      mbarrier_wait(full + stage * 8, step / Stages & 1);
      const char* base = shared + stage * kStageBytes;
      const auto load = [&](u32 at) { return *reinterpret_cast<const uint4*>(base + at); };
      uint4 low[Units], high[Units], token[TokenTiles];
#pragma unroll
      for (int u = 0; u < Units; ++u) {
        low[u] = load((u * kUnit + g) * kStreamRowBytes + offset);
        high[u] = load((u * kUnit + g + 8) * kStreamRowBytes + offset);
      }
#pragma unroll
      for (int m = 0; m < TokenTiles; ++m) token[m] = load(token_at[m]);
      __syncwarp();
      if (lane == 0) mbarrier_arrive(empty + stage * 8);
#pragma unroll
      for (int u = 0; u < Units; ++u) {
#pragma unroll
        for (int m = 0; m < TokenTiles; ++m) {
          mma_16816<W>(sum[u][m], low[u].x, high[u].x, low[u].y, high[u].y, token[m].x, token[m].y);
          mma_16816<W>(sum[u][m], low[u].z, high[u].z, low[u].w, high[u].w, token[m].z, token[m].w);
        }
      }
    }

#pragma unroll
    for (int u = 0; u < Units; ++u) {
#pragma unroll
      for (int m = 0; m < TokenTiles; ++m) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          partial[warp * kPartial + (m * 8 + 2 * t + j % 2) * kPartialStride + u * kUnit + g + j / 2 * 8] = sum[u][m][j];
        }
      }
    }
    named_barrier_sync(1, kStreamWarps * kWarp);
    if (i == 0) mbarrier_wait(scaled, 0);
    // A half warp finishes one unit of one token, a lane one row of it.
    for (int job = warp * 2 + lane / kUnit; job - lane / kUnit < kTokens * Units; job += kStreamWarps * 2) {
      const int token = job / Units, u = job % Units;
      const i64 unit = unit_begin + static_cast<i64>(i) * Units + u;
      const bool exists = token < rows && token < kTokens && unit < unit_end;
      const float* sums = partial + (exists ? token * kPartialStride + u * kUnit + lane % kUnit : 0);
      float total = sums[0];
#pragma unroll
      for (int p = 1; p < kStreamWarps; ++p) total += sums[p * kPartial];
      finish_unit<W, A, KV, Kind>(all, total * scale[exists ? token : 0], row0 + token, unit, exists, lane % kUnit);
    }
    named_barrier_sync(1, kStreamWarps * kWarp);
  }
}

template <typename W, typename A, int Units, int TokenTiles, int Stages, Epilogue Kind>
KERNEL_FN void linear_stream(const FusedLinearArgs& args, Tile tile, char* shared) {
  stream_units<W, A, float, Units, TokenTiles, Stages, Kind>(args, tile, shared);
}

template <typename W, typename A, typename KV, int Units, int TokenTiles, int Stages>
KERNEL_FN void linear_stream_rope(const LinearRopeArgs& args, Tile tile, char* shared) {
  stream_units<W, A, KV, Units, TokenTiles, Stages, Epilogue::kRope>(args, tile, shared);
}
