// Linear layers on e4m3 weights and e4m3 activations for many tokens: mma m16n8k32, a ring of cp.async stages. sm_89 and
// later. See QuantizedFusedArgs, QuantizedRopeArgs, Fp8RowsArgs.
#pragma once

// clang-format off: the types come first
#include "cuda/linear_epilogue.h"
#include "cuda/tensor_core.h"
#include "quantized_weights.h"
// clang-format on

// A block of 2 x 4 warps computes 128 rows of eight units of 16 columns (linear_epilogue.h), over K in steps of 128: two
// panels of 64, in which the weights' tiles of eight rows lie as in memory, and rows of x one behind the other. 16 bytes
// of a row of either are a lane's operands of two products (Fp8RowsArgs), and a warp reads them without conflicts. Like
// those of Hopper the tensor cores keep fewer bits of a sum than fp32, so the sums of a step are added up in fp32, with
// `Grouped` times the scales of its columns; else those of rows of w and x stand behind all sums. Tile: x = eight units,
// y = 128 rows. 256 threads; Stages * 32768 + 512 bytes of shared memory. K is a multiple of 64.
struct Fp8MmaTile {
  static constexpr int kRows = 128, kColumns = 128, kDepth = 128, kPanelColumns = 64, kPanels = 2, kThreads = 256;
  static constexpr int kWarpRows = 64, kWarpColumns = 32, kTilesM = kWarpRows / 16, kTilesN = kWarpColumns / 8;
  static constexpr int kOperandBytes = kRows * kDepth, kStageBytes = 2 * kOperandBytes, kUnits = kColumns / 16;
  static constexpr int kTileBytes = kFragmentRows * kPanelColumns;  // of eight rows in a panel
  static constexpr int kSumStride = kColumns + 4;                   // of the sums of a row in shared memory

  // each(m, n, i) for all sums of a lane: i as d of mma_16832_e4m3.
  template <typename Each>
  KERNEL_FN static void for_each_sum(Each each) {
#pragma unroll
    for (int m = 0; m < kTilesM; ++m) {
#pragma unroll
      for (int n = 0; n < kTilesN; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) each(m, n, i);
      }
    }
  }
};

using Fp8MmaSums = float[Fp8MmaTile::kTilesM][Fp8MmaTile::kTilesN][4];  // of a lane

template <typename Args>
KERNEL_FN i64 fp8_units(const Args& all) {
  return (linear_of(all).n + 15) / 16;
}

// The tile of eight rows of w that half `half` of unit `unit` is; beyond the matrix its last one.
template <Epilogue Kind, typename Args>
KERNEL_FN u32 fp8_weight_tile(const Args& all, i64 unit, int half) {
  const HalfUnit rows = half_unit<Kind>(epilogue_of(all), min_of(unit, fp8_units(all) - 1), half);
  return static_cast<u32>(min_of(rows.first, rows.end - kFragmentRows) / kFragmentRows);
}

// Copies into a stage: x, then w, in chunks of 16 bytes, of which each thread has as many of either. Rows and panels beyond
// the matrix become zeros.
template <Epilogue Kind, typename Args>
struct Fp8MmaLoads {
  using T = Fp8MmaTile;
  static constexpr int kChunks = T::kOperandBytes / 16 / T::kThreads, kOfPanel = kChunks / T::kPanels;
  const char* x[kOfPanel];
  const char* w[kOfPanel];
  bool valid[kOfPanel];
  u32 k;

  KERNEL_FN Fp8MmaLoads(const Args& all, i64 row0, i64 rows, i64 unit0) {
    const FusedLinearArgs& args = linear_of(all);
    k = static_cast<u32>(args.k);
#pragma unroll
    for (int l = 0; l < kOfPanel; ++l) {
      const int i = threadIdx.x + l * T::kThreads, tile = i / kWarp;
      const i64 row = row0 + i / 4;
      valid[l] = row < rows;
      x[l] = static_cast<const char*>(args.x) + (valid[l] ? row : 0) * args.k + i % 4 * 16;
      w[l] = static_cast<const char*>(args.w) +
             static_cast<i64>(fp8_weight_tile<Kind>(all, unit0 + tile / 2, tile % 2)) * kFragmentRows * args.k +
             i % kWarp * 16;
    }
  }
  KERNEL_FN void copy(u32 stage, u32 step) const {
#pragma unroll
    for (int panel = 0; panel < T::kPanels; ++panel) {
      const u32 column = step * T::kDepth + panel * T::kPanelColumns;
#pragma unroll
      for (int l = 0; l < kOfPanel; ++l) {
        const u32 to = stage + panel * (T::kOperandBytes / T::kPanels) + (threadIdx.x + l * T::kThreads) * 16;
        copy_async16(to, x[l] + column, valid[l] && column < k);
        copy_async16(to + T::kOperandBytes, w[l] + static_cast<i64>(column) * kFragmentRows, column < k);
      }
    }
  }
};

// Adds the products of a stage; x and w: addresses of what the lane has of them.
KERNEL_FN void fp8_mma_products(Fp8MmaSums& sum, u32 x, u32 w) {
  using T = Fp8MmaTile;
#pragma unroll
  for (int panel = 0; panel < T::kPanels; ++panel) {
    const u32 offset = panel * (T::kOperandBytes / T::kPanels);
    uint4 b[T::kTilesN];
#pragma unroll
    for (int n = 0; n < T::kTilesN; ++n) b[n] = load_shared16(w + offset + n * T::kTileBytes);
#pragma unroll
    for (int m = 0; m < T::kTilesM; ++m) {
      const uint4 low = load_shared16(x + offset + m * 2 * T::kTileBytes),
                  high = load_shared16(x + offset + (m * 2 + 1) * T::kTileBytes);
#pragma unroll
      for (int n = 0; n < T::kTilesN; ++n) {
        mma_16832_e4m3(sum[m][n], low.x, high.x, low.y, high.y, b[n].x, b[n].y);
        mma_16832_e4m3(sum[m][n], low.z, high.z, low.w, high.w, b[n].z, b[n].w);
      }
    }
  }
}

// Scales of group `group`: of a lane's rows of x, and of its columns, two neighbours for each tile of w.
template <typename S>
struct Fp8MmaScales {
  using T = Fp8MmaTile;
  float x[T::kTilesM][2], w[T::kTilesN][2];

  template <typename Args>
  KERNEL_FN Fp8MmaScales(const Args& all, i64 row, i64 rows, const u32 (&tiles)[T::kTilesN], u32 group, u32 groups) {
    const float* x_scales = linear_of(all).partials;
#pragma unroll
    for (int m = 0; m < T::kTilesM * 2; ++m)
      x[m / 2][m % 2] = row + m * 8 < rows ? x_scales[(row + m * 8) * groups + group] : 0.0f;
    const S* w_scales = static_cast<const S*>(all.groups.scales);
#pragma unroll
    for (int n = 0; n < T::kTilesN; ++n) {
      const S* pair = w_scales + (tiles[n] * groups + group) * kFragmentRows + threadIdx.x % 4 * 2;
      unpack2<S>(*reinterpret_cast<const u32*>(pair), w[n][0], w[n][1]);
    }
  }
  KERNEL_FN float of(int m, int n, int i) const { return x[m][i / 2] * w[n][i % 2]; }
};

// What a block computes, and what a lane of it has of that: its first row of x; the others are 8, 16, ... 56 below.
struct Fp8MmaPlace {
  i64 row0, rows, unit0;
  int warp_row, warp_column, lane;

  KERNEL_FN Fp8MmaPlace(const FusedLinearArgs& args, Tile tile) {
    using T = Fp8MmaTile;
    const int warp = threadIdx.x / kWarp;
    rows = args.counts->rows[args.row_count];
    row0 = static_cast<i64>(tile.y) * T::kRows, unit0 = static_cast<i64>(tile.x) * T::kUnits;
    warp_row = warp / 4 * T::kWarpRows, warp_column = warp % 4 * T::kWarpColumns, lane = threadIdx.x % kWarp;
  }
  KERNEL_FN i64 lane_row() const { return row0 + warp_row + lane / 4; }
};

// The scaled sums of a lane, over all of K.
template <typename S, int Stages, Epilogue Kind, bool Grouped, typename Args>
KERNEL_FN void fp8_mma_sums(const Args& all, const Fp8MmaPlace& at, u32 ring, Fp8MmaSums& sum) {
  using T = Fp8MmaTile;
  u32 tiles[T::kTilesN];
#pragma unroll
  for (int n = 0; n < T::kTilesN; ++n) {
    const int half = at.warp_column / 8 + n;
    tiles[n] = fp8_weight_tile<Kind>(all, at.unit0 + half / 2, half % 2);
  }
  const Fp8MmaLoads<Kind, Args> loads(all, at.row0, at.rows, at.unit0);
  const u32 steps = (static_cast<u32>(linear_of(all).k) + T::kDepth - 1) / T::kDepth;
  const u32 x = at.warp_row * T::kPanelColumns + at.lane * 16,
            w = T::kOperandBytes + at.warp_column * T::kPanelColumns + at.lane * 16;
#pragma unroll
  for (u32 s = 0; s < Stages - 1; ++s) {
    if (s < steps) loads.copy(ring + s * T::kStageBytes, s);
    copy_async_commit();
  }
  for (u32 step = 0; step < steps; ++step) {
    copy_async_wait<Stages - 2>();
    __syncthreads();  // everyone's part of this stage is here, and the stage to be loaded next is read by all
    if (step + Stages - 1 < steps) loads.copy(ring + (step + Stages - 1) % Stages * T::kStageBytes, step + Stages - 1);
    copy_async_commit();
    const u32 stage = ring + step % Stages * T::kStageBytes;
    Fp8MmaSums part = {};
    if constexpr (Grouped) {
      const Fp8MmaScales<S> scales(all, at.lane_row(), at.rows, tiles, step, steps);
      fp8_mma_products(part, stage + x, stage + w);
      T::for_each_sum([&](int m, int n, int i) { sum[m][n][i] += part[m][n][i] * scales.of(m, n, i); });
    } else {
      fp8_mma_products(part, stage + x, stage + w);
      T::for_each_sum([&](int m, int n, int i) { sum[m][n][i] += part[m][n][i]; });
    }
  }
  copy_async_wait<0>();
  if constexpr (!Grouped) {
    const Fp8MmaScales<S> scales(all, at.lane_row(), at.rows, tiles, 0, 1);
    T::for_each_sum([&](int m, int n, int i) { sum[m][n][i] *= scales.of(m, n, i); });
  }
}

// The sums become outputs, by way of shared memory: 16 lanes finish a unit of a row.
template <typename A, typename KV, Epilogue Kind, typename Args>
KERNEL_FN void fp8_mma_finish(const Args& all, const Fp8MmaPlace& at, const Fp8MmaSums& sum, float* sums,
                              const float* row_scales) {
  using T = Fp8MmaTile;
  constexpr int kLanes = 16;
  T::for_each_sum([&](int m, int n, int i) {
    const int row = at.warp_row + m * 16 + i / 2 * 8 + at.lane / 4;
    sums[row * T::kSumStride + at.warp_column + n * 8 + at.lane % 4 * 2 + i % 2] = sum[m][n][i];
  });
  __syncthreads();
  const int lane = threadIdx.x % kLanes;
  for (int i = threadIdx.x / kLanes; i < T::kRows * T::kUnits; i += T::kThreads / kLanes) {
    const int r = i / T::kUnits, u = i % T::kUnits;
    const i64 row = at.row0 + r, unit = at.unit0 + u;
    load_and_finish_unit<A, A, KV, Kind>(epilogue_of(all), sums[r * T::kSumStride + u * kLanes + lane] * row_scales[r],
                                         row, unit, row < at.rows && unit < fp8_units(all), lane);
  }
}

template <typename S, typename A, typename KV, int Stages, Epilogue Kind, bool Grouped, typename Args>
KERNEL_FN void fp8_mma_tile(const Args& all, Tile tile, char* shared) {
  using T = Fp8MmaTile;
  const FusedLinearArgs& args = linear_of(all);
  const Fp8MmaPlace at(args, tile);
  if (at.row0 >= at.rows) return;
  float* row_scales = reinterpret_cast<float*>(shared + Stages * T::kStageBytes);
  for (int r = threadIdx.x / kWarp; r < T::kRows; r += T::kThreads / kWarp) {
    const float scale = row_scale_of(args, min_of(at.row0 + r, at.rows - 1), at.lane);
    if (at.lane == 0) row_scales[r] = scale;
  }
  Fp8MmaSums sum = {};
  fp8_mma_sums<S, Stages, Kind, Grouped>(all, at, shared_address(shared), sum);
  __syncthreads();  // nobody reads the ring any more
  fp8_mma_finish<A, KV, Kind>(all, at, sum, reinterpret_cast<float*>(shared), row_scales);
}

template <typename Code, typename S, typename A, int Stages, Epilogue Kind, bool Grouped>
KERNEL_FN void linear_fp8_mma(const QuantizedFusedArgs& args, Tile tile, char* shared) {
  fp8_mma_tile<S, A, A, Stages, Kind, Grouped>(args, tile, shared);
}

template <typename Code, typename S, typename A, typename KV, int Stages, bool Grouped>
KERNEL_FN void linear_fp8_mma_rope(const QuantizedRopeArgs& args, Tile tile, char* shared) {
  fp8_mma_tile<S, A, KV, Stages, Epilogue::kRope, Grouped>(args, tile, shared);
}
