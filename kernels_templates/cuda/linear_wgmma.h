// Linear layers for many tokens on Hopper: wgmma fed by tensor copies. sm_90a, 16-bit types. See FusedLinearArgs,
// LinearRopeArgs, LinearArgs.
#pragma once

#include "cuda/linear_wgmma_store.h"
#include "cuda/wgmma.h"

// A block takes tile after tile of BM rows x BN weight rows (for glu BN / 2 of gate and the BN / 2 of up that belong to
// them, for RoPE BN / 2 of the first halves of heads and those that they are rotated with). Thread 0 fills a ring of
// stages, 64 values of k each; warpgroups 1 and 2 multiply: each half of the rows (BM = 128), or all rows and half of
// the columns (BM = 64); warps 1 and 2 compute the row scales of the tile meanwhile. With Splits > 1 so many blocks
// share a tile's K; the last of them adds the sums in their order. The next tile's copies run while a tile is stored.
// Tile: x of nx = a share of the tiles, in an order that keeps 16 row tiles and few columns in the L2 at a time; y is
// not used. BM = 64 serves up to 64 rows, and copies weights before the launch before has ended. The blocks of a cluster
// take neighbouring row tiles; each copies a part of the weights for all of them. 384 threads; Stages * 128 * (BM + BN) +
// 8 * BM + 512 bytes of shared memory. K is a multiple of 8. Boxes of x_map: 64 x BM, of w_map: 64 x kWgmmaBoxRows. Sums
// run in order of k.
constexpr int kWgmmaDepth = 64, kWgmmaRowBytes = kWgmmaDepth * 2;

template <int BM, int BN>
constexpr int kWgmmaColumns = BM == 128 ? BN : BN / 2;  // N of a warpgroup's products

// Rows of a box of w: each block of a cluster copies its share of BN. For glu the two halves of a warpgroup's columns are
// copied apart, for RoPE 16 or 32 dims of a half of a head.
template <int BM, int BN, Epilogue Kind, int Cluster>
constexpr int kWgmmaBoxRows = Kind == Epilogue::kRope  ? (kWgmmaColumns<BM, BN> < 64 ? 16 : 32)
                              : Kind == Epilogue::kGlu ? kWgmmaColumns<BM, BN> / 2
                                                       : BN / Cluster;

// The tiles in their order: n runs behind m within group_rows row tiles.
struct WgmmaTiles {
  u32 row_tiles, column_tiles, group_rows;

  KERNEL_FN u32 count() const { return row_tiles * column_tiles; }
  KERNEL_FN void at(u32 index, u32& m, u32& n) const {
    const u32 group = index / (group_rows * column_tiles), first = group * group_rows;
    const u32 left = row_tiles - first, rows = left < group_rows ? left : group_rows,
              within = index - first * column_tiles;
    m = first + within % rows;
    n = within / rows;
  }
};

// Position in a ring of `Stages`: the stage, and the parity of the phase that its barrier completes in this round.
template <int Stages>
struct WgmmaRing {
  u32 stage = 0, parity = 0;

  KERNEL_FN void advance() {
    if (++stage == Stages) stage = 0, parity ^= 1;
  }
};

// Scales of the rows of a tile into shared memory, by 64 threads.
template <int BM>
KERNEL_FN void wgmma_row_scales(const FusedLinearArgs& args, float* scale, i64 row0, i64 rows, int thread) {
  constexpr int kRows = BM / 64, kAhead = 32 / kRows;
  float sum[kRows] = {};
  for (i64 part = 0; part < args.square_parts; part += kAhead) {
    float v[kRows][kAhead];
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const i64 row = row0 + r * 64 + thread;
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const bool valid = row < rows && part + i < args.square_parts;
        v[r][i] = valid ? args.squares[(part + i) * args.square_stride + row] : 0.0f;
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int i = 0; i < kAhead; ++i) sum[r] += v[r][i];
    }
  }
#pragma unroll
  for (int r = 0; r < kRows; ++r) scale[r * 64 + thread] = inverse_rms(sum[r], args.k, args.eps);
}

// Adds up the sums of a warpgroup's part of a tile, in split order. True for the last split, which then has all of
// them. `flag`: a word of shared memory of the warpgroup's own. Called by its 128 threads.
template <int Splits, int Count>
KERNEL_FN bool wgmma_join_splits(const FusedLinearArgs& args, float (&sum)[Count], u32 tile, u32 split, int group,
                                 u32* flag) {
  constexpr int kThreads = 128;
  const int thread = threadIdx.x % kThreads, barrier = 2 + group;
  float* all = args.partials + (static_cast<i64>(tile) * 2 + group) * Splits * Count * kThreads + thread;
  float* mine = all + static_cast<i64>(split) * Count * kThreads;
#pragma unroll
  for (int i = 0; i < Count; ++i) mine[i * kThreads] = sum[i];
  named_barrier_sync(barrier, kThreads);
  if (thread == 0) {
    u32* arrivals = args.arrivals + tile * 2 + group;
    *flag = count_arrival(arrivals) == static_cast<u32>(Splits - 1);
    if (*flag) *arrivals = 0;
  }
  named_barrier_sync(barrier, kThreads);
  if (!*flag) return false;
#pragma unroll
  for (int i = 0; i < Count; ++i) {
    float total = __ldcg(all + i * kThreads);
#pragma unroll
    for (int s = 1; s < Splits; ++s) total += __ldcg(all + (s * Count + i) * kThreads);
    sum[i] = total;
  }
  return true;
}

// The operands of a dense layer of W: 64 values in 128 bytes. Those of e4m3: linear_fp8_wgmma.h.
template <typename W>
struct WgmmaDense {
  static constexpr int kDepth = kWgmmaDepth;
  static constexpr bool kPromotes = false;  // sums are added up beside the products

  KERNEL_FN static u64 weights(u32 shared_source) { return wgmma_operand(shared_source); }
  // `Rows` rows of w, from row `row` on, of a step over K, as box i of a stage's BN.
  template <int BN, int Rows, int Cluster>
  KERNEL_FN static void copy(u32 stage_weights, u32 i, const void* map, u32 step, u32 row, u32 bar, u64 cache) {
    const u32 to = stage_weights + i * Rows * kWgmmaRowBytes;
    if constexpr (Cluster > 1) {
      tensor_copy_everywhere<Cluster>(to, map, step * kDepth, row, bar, cache);
    } else {
      tensor_copy(to, map, step * kDepth, row, bar, cache);
    }
  }
  // The products of a step; `first`: sums start from zero.
  template <int N, int BN>
  KERNEL_FN static void multiply(float (&sum)[N / 2], u64 x, u64 w, bool first) {
#pragma unroll
    for (u32 kk = 0; kk < kDepth / 16; ++kk) wgmma<W, N>(sum, x + kk * 2, w + kk * 2, (first ? 0u : 1u) | kk);
  }
  template <Epilogue Kind, int N, int HeadDim, typename Args>
  KERNEL_FN static void scale(const Args&, float (&)[N / 2], WgmmaRows&, i64) {}
};

template <typename Operands, typename W, typename A, typename KV, int HeadDim, int BM, int BN, int Stages, Epilogue Kind,
          int Splits, int Cluster, typename Args>
KERNEL_FN void wgmma_tiles(const Args& all, Tile block, char* shared) {
  const FusedLinearArgs& args = linear_of(all);
  constexpr int kN = kWgmmaColumns<BM, BN>, kBoxRows = kWgmmaBoxRows<BM, BN, Kind, Cluster>, kBoxes = BN / kBoxRows;
  constexpr int kXBytes = BM * kWgmmaRowBytes, kStageBytes = (BM + BN) * kWgmmaRowBytes;
  constexpr int kOutputColumns = Kind == Epilogue::kGlu ? BN / 2 : BN;
  constexpr int kConsumerWarps = 8, kScaleThreads = 64;
  constexpr bool kOneRowTile = BM == 64;
  static_assert(sizeof(W) == 2 && sizeof(A) == 2 && (BM == 64 || BM == 128), "see above");
  static_assert(Cluster == 1 || (!kOneRowTile && Splits == 1 && kBoxes % Cluster == 0), "a share of w for each block");
  static_assert(kBoxRows <= 256 && kBoxRows % 8 == 0, "a box of w, and whole groups of swizzled rows");
  static_assert(Kind != Epilogue::kRope || (kN / 2 % kBoxRows == 0 && HeadDim / 2 % kBoxRows == 0),
                "boxes of one half of a head");

  float* scale = reinterpret_cast<float*>(shared + Stages * kStageBytes);  // [2, BM]
  const u32 ring = shared_address(shared), full = shared_address(scale + 2 * BM), empty = full + Stages * 8;
  const u32 scale_full = empty + Stages * 8, scale_empty = scale_full + 16;
  u32* flags = reinterpret_cast<u32*>(scale + 2 * BM) + Stages * 4 + 8;  // [2]: a warpgroup finishes the tile
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  if (threadIdx.x == 0) {
    for (int s = 0; s < Stages; ++s) {
      mbarrier_init(full + s * 8, 1);
      mbarrier_init(empty + s * 8, Cluster * kConsumerWarps * kWarpArrivals);
    }
    for (int i = 0; i < 2; ++i) {
      mbarrier_init(scale_full + i * 8, kScaleThreads);
      mbarrier_init(scale_empty + i * 8, kConsumerWarps * kWarpArrivals);
    }
    fence_barrier_init();
    tensor_map_acquire(args.x_map);
    tensor_map_acquire(args.w_map);
    tensor_map_prefetch(args.x_map);
    tensor_map_prefetch(args.w_map);
  }
  const u32 rank = Cluster > 1 ? cluster_rank() : 0;
  const Tile tile = {block.x / Cluster, block.y, block.z, block.nx / Cluster};
  if constexpr (Cluster > 1) {
    cluster_sync();
  } else {
    __syncthreads();
  }

  // Share i of the work: tile i / Splits, and split i % Splits of its steps over K.
  const u32 steps = (static_cast<u32>(args.k) + Operands::kDepth - 1) / Operands::kDepth;
  const auto begin_of = [&](u32 i) { return steps * (i % Splits) / Splits; };
  const auto end_of = [&](u32 i) { return steps * (i % Splits + 1) / Splits; };
  const i64 width = Kind == Epilogue::kGlu ? args.n / 2 : args.n;
  const u32 column_tiles = static_cast<u32>((width + kOutputColumns - 1) / kOutputColumns);

  const auto copy_weights = [&](u32 stage, u32 step, u32 n) {
    const u32 to = ring + stage * kStageBytes + kXBytes, bar = full + stage * 8;
    const u32 column = n * kOutputColumns;
    constexpr u64 kCache = kOneRowTile ? kCacheFirstOut : kCacheNormal;
#pragma unroll
    for (int own = 0; own < kBoxes / Cluster; ++own) {
      const u32 i = own + rank * (kBoxes / Cluster);
      u32 row = column;
      if constexpr (Kind == Epilogue::kPlain || Kind == Epilogue::kAdd) row += i * kBoxRows;
      if constexpr (Kind == Epilogue::kGlu) row += i / 2 * kBoxRows + i % 2 * static_cast<u32>(width);  // gate, then up
      if constexpr (Kind == Epilogue::kRope) {  // the first halves of heads, then the second
        constexpr u32 kOfHalf = kN / 2 / kBoxRows, kHalf = HeadDim / 2;
        const u32 dim = column / 2 + (i / (2 * kOfHalf) * kOfHalf + i % kOfHalf) * kBoxRows;
        row = dim / kHalf * HeadDim + dim % kHalf + i / kOfHalf % 2 * kHalf;
      }
      Operands::template copy<BN, kBoxRows, Cluster>(to, i, args.w_map, step, row, bar, kCache);
    }
  };

  u32 ahead = 0;  // stages whose weights are on their way before the launch before has ended
  if constexpr (kOneRowTile) {
    if (threadIdx.x == 0 && tile.x < column_tiles * Splits) {
      const u32 begin = begin_of(tile.x), all = end_of(tile.x) - begin;
      ahead = all < Stages ? all : Stages;
      for (u32 s = 0; s < ahead; ++s) {
        tensor_copy_announce(full + s * 8, kStageBytes - kXBytes);
        copy_weights(s, begin + s, tile.x / Splits);
      }
    }
  }
  dependency_wait();
  dependency_trigger();
  const i64 rows = args.counts->rows[args.row_count];
  // The blocks of a cluster take neighbouring row tiles: an m of `tiles` is the cluster's.
  const WgmmaTiles tiles = {static_cast<u32>((rows + BM * Cluster - 1) / (BM * Cluster)), column_tiles, 16 / Cluster};
  const u32 shares = tiles.count() * Splits;
  const auto row_tile = [&](u32 m) { return m * Cluster + rank; };

  if (warp < 4) {
    registers_shrink<56>();
    if (threadIdx.x == 0) {
      if (kOneRowTile && tiles.count() == 0) {  // nothing to compute, but what is on its way must land
        for (u32 s = 0; s < ahead; ++s) {
          mbarrier_arrive(full + s * 8);
          mbarrier_wait(full + s * 8, 0);
        }
      }
      WgmmaRing<Stages> at;
      for (u32 i = tile.x; i < shares; i += tile.nx) {
        u32 m, n;
        tiles.at(i / Splits, m, n);
        const u32 begin = begin_of(i), end = end_of(i);
        for (u32 step = begin; step < end; ++step) {
          const bool has_weights = kOneRowTile && i == tile.x && step - begin < ahead;
          mbarrier_wait(empty + at.stage * 8, at.parity ^ 1);
          mbarrier_expect_tx(full + at.stage * 8, has_weights ? kXBytes : kStageBytes);
          tensor_copy(ring + at.stage * kStageBytes, args.x_map, step * kWgmmaDepth, row_tile(m) * BM, full + at.stage * 8,
                      kCacheNormal);
          if (!has_weights) copy_weights(at.stage, step, n);
          at.advance();
        }
      }
    } else if ((warp == 1 || warp == 2) && args.squares) {
      WgmmaRing<2> at;
      for (u32 i = tile.x; i < shares; i += tile.nx) {
        u32 m, n;
        tiles.at(i / Splits, m, n);
        mbarrier_wait(scale_empty + at.stage * 8, at.parity ^ 1);
        wgmma_row_scales<BM>(args, scale + at.stage * BM, static_cast<i64>(row_tile(m)) * BM, rows, threadIdx.x - kWarp);
        mbarrier_arrive(scale_full + at.stage * 8);
        at.advance();
      }
    }
  } else {
    registers_grow<224>();
    const int group = warp / 4 - 1;
    const int group_row = BM == 128 ? group * 64 : 0, group_column = BM == 128 ? 0 : group * kN;
    const u64 a0 = wgmma_operand(ring + group_row * kWgmmaRowBytes);
    const u64 b0 = Operands::weights(ring + kXBytes + group_column * kWgmmaRowBytes);
    const auto release = [&](u32 stage) {
      if constexpr (Cluster > 1) {
        mbarrier_arrive_warp_everywhere<Cluster>(empty + stage * 8);
      } else {
        mbarrier_arrive_warp(empty + stage * 8);
      }
    };
    const auto lane_row = [&] { return group_row + warp % 4 * 16 + lane / 4; };  // of the tile; the other one is eight below
    const auto first_column = [&](u32 n) {
      return static_cast<i64>(n) * kOutputColumns + (Kind == Epilogue::kGlu ? group_column / 2 : group_column);
    };
    WgmmaRing<Stages> at;
    WgmmaRing<2> scale_at;
    for (u32 i = tile.x; i < shares; i += tile.nx) {
      u32 m, n;
      tiles.at(i / Splits, m, n);
      float sum[kN / 2];
      u32 last = 0;
      const u32 begin = begin_of(i), end = end_of(i);
      if constexpr (Operands::kPromotes) {
#pragma unroll
        for (int j = 0; j < kN / 2; ++j) sum[j] = 0.0f;
      }
      for (u32 step = begin; step < end; ++step) {
        mbarrier_wait(full + at.stage * 8, at.parity);
        const u64 offset = at.stage * (kStageBytes >> 4);
        if constexpr (Operands::kPromotes) {  // the other warpgroup multiplies meanwhile
          float part[kN / 2];
          const auto factors = Operands::template factors<Kind, kN, HeadDim>(
              all, static_cast<i64>(row_tile(m)) * BM + lane_row(), rows, first_column(n), step);
          wgmma_fence();
          Operands::template multiply<kN, BN>(part, a0 + offset, b0 + offset, true);
          wgmma_commit();
          wgmma_wait<0>();
          wgmma_finished(part);
          release(at.stage);
          Operands::add(sum, part, factors);
        } else {
          wgmma_fence();
          Operands::template multiply<kN, BN>(sum, a0 + offset, b0 + offset, step == begin);
          wgmma_commit();
          wgmma_wait<1>();  // all but this step
          if (step > begin) release(last);
          last = at.stage;
        }
        at.advance();
      }
      wgmma_wait<0>();
      wgmma_finished(sum);
      if (Operands::kPromotes) {
      } else if (Splits == 1 || begin < end) {
        release(last);
      } else {  // a short K has no step for every split
#pragma unroll
        for (int j = 0; j < kN / 2; ++j) sum[j] = 0.0f;
      }

      const int row = lane_row();
      WgmmaRows r;
      r.t = lane % 4;
      if (args.squares) mbarrier_wait(scale_full + scale_at.stage * 8, scale_at.parity);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        r.row[h] = static_cast<i64>(row_tile(m)) * BM + row + h * 8;
        r.valid[h] = r.row[h] < rows;
        r.scale[h] = args.squares ? scale[scale_at.stage * BM + row + h * 8] : 1.0f;
      }
      if (args.squares) {
        mbarrier_arrive_warp(scale_empty + scale_at.stage * 8);
        scale_at.advance();
      }
      const i64 column = first_column(n);
      Operands::template scale<Kind, kN, HeadDim>(all, sum, r, column);
      if constexpr (Splits > 1) {
        if (!wgmma_join_splits<Splits>(args, sum, i / Splits, i % Splits, group, flags + group)) continue;
      }
      if constexpr (Kind == Epilogue::kRope) {
        store_rotated<W, KV, HeadDim, kN>(epilogue_of(all), sum, r, column / 2);
      } else {
        store_tile<W, A, Kind, kN>(args, sum, r, column);
      }
    }
  }
  if constexpr (Cluster > 1) cluster_sync();  // no block ends while another arrives at its barriers
}

template <typename W, typename A, int BM, int BN, int Stages, Epilogue Kind, int Splits = 1, int Cluster = 1>
KERNEL_FN void linear_wgmma(const FusedLinearArgs& args, Tile tile, char* shared) {
  wgmma_tiles<WgmmaDense<W>, W, A, A, 0, BM, BN, Stages, Kind, Splits, Cluster>(args, tile, shared);
}

// RoPE over whole heads of HeadDim.
template <typename W, typename A, typename KV, int HeadDim, int BM, int BN, int Stages, int Splits = 1, int Cluster = 1>
KERNEL_FN void linear_wgmma_rope(const LinearRopeArgs& args, Tile tile, char* shared) {
  wgmma_tiles<WgmmaDense<W>, W, A, KV, HeadDim, BM, BN, Stages, Epilogue::kRope, Splits, Cluster>(args, tile, shared);
}

// The family `linear`: the same with LinearArgs.
template <typename W, typename A, int BM, int BN, int Stages>
KERNEL_FN void linear_wgmma_plain(const LinearArgs& args, Tile tile, char* shared) {
  FusedLinearArgs fused = {};
  fused.counts = args.counts;
  fused.x = args.x, fused.w = args.w, fused.bias = args.bias;
  fused.out = args.out;
  fused.row_count = args.row_count, fused.n = args.n, fused.k = args.k;
  fused.x_map = args.x_map, fused.w_map = args.w_map;
  linear_wgmma<W, A, BM, BN, Stages, Epilogue::kPlain>(fused, tile, shared);
}
