// Linear layers for 17 to 32 tokens on Hopper, whose blocks share K in clusters: sm_90a, 16-bit types. See
// FusedLinearArgs, LinearRopeArgs.
#pragma once

#include "cuda/linear_cluster_finish.h"

// The weight is the 64-row operand of wgmma and N tokens are the other one, both in shared memory: a block takes a tile
// of 64 * Groups weight rows and a share of K, so that it reads its share of the tokens alone, and many blocks can read
// weights though there are few rows of them. The Splits blocks of a cluster add their sums through each other's shared
// memory. Warpgroups multiply 64 rows each; behind them a lane of a warp fills a ring of stages, 64 values of k each,
// by tensor copies: the weights' before the launch before has ended. A last warp prepares what the end needs to know of
// the tokens. Tile: x = a tile of the weight's rows and its split; y is not used. Up to N rows; 128 * Groups + 64
// threads; WgmmaClusterShared::kBytes bytes of shared memory. K is a multiple of 8. Boxes of x_map: 64 x N, of w_map:
// 64 x kBoxRows. Sums run in order of k.
template <int Groups, int N, int Stages, Epilogue Kind>
struct WgmmaClusterShared {
  static constexpr int kDepth = 64, kRowBytes = kDepth * 2;
  static constexpr int kBoxRows = Kind == Epilogue::kRope ? 32 : 64, kBoxes = 64 / kBoxRows;  // of a warpgroup's rows
  static constexpr int kBoxBytes = kBoxRows * kRowBytes, kGroupBytes = kBoxes * kBoxBytes;
  static constexpr int kWeightBytes = Groups * kGroupBytes, kTokenBytes = N * kRowBytes;
  static constexpr int kStageBytes = kWeightBytes + kTokenBytes;
  static constexpr int kHelpers = kWarp;  // threads that prepare the end
  static constexpr int kFinish = Stages * kStageBytes, kBarriers = kFinish + kClusterFinishBytes<N, kHelpers>;
  static constexpr int kBytes = kBarriers + 16 * Stages;
};

// The 64 weight rows of a warpgroup: four units of 16. Where a unit is eight rows and eight that they are rotated with,
// the first of all four stand in the first half.
template <Epilogue Kind, typename Args>
struct WgmmaClusterRows {
  const Args& all;
  i64 unit;  // the first

  KERNEL_FN bool rotated() const {
    if constexpr (Kind == Epilogue::kRope) return RopeUnit(all, unit).rotated;
    return false;
  }
  // The first row of a box.
  template <int BoxRows>
  KERNEL_FN u32 first_row(int box) const {
    const i64 row = rotated() ? half_unit<Kind>(all, unit, box).first : half_unit<Kind>(all, unit, 0).first + box * BoxRows;
    return static_cast<u32>(row);
  }
  // Where rows 8 * `eight` .. of the 64 belong among those of the four units, unit by unit.
  KERNEL_FN int place(int eight) const { return rotated() ? eight % 4 * 16 + eight / 4 * 8 : eight * 8; }
};

// A block's share: steps begin .. begin + steps - 1 over K of a tile of Groups * 64 rows.
template <typename Shared, int Groups, int Stages, Epilogue Kind, typename Args>
struct WgmmaClusterShare {
  const Args& all;
  u32 tile, begin, steps;
  u32 ring, full, empty;  // shared addresses: of the stages, and of a barrier for each

  KERNEL_FN WgmmaClusterShare(const Args& all, u32 tile, u32 split, u32 splits, u32 shared)
      : all(all), tile(tile), ring(shared), full(shared + Shared::kBarriers), empty(full + Stages * 8) {
    const u32 all_steps = static_cast<u32>((linear_of(all).k + Shared::kDepth - 1) / Shared::kDepth);
    begin = all_steps * split / splits, steps = all_steps * (split + 1) / splits - begin;
  }

  KERNEL_FN WgmmaClusterRows<Kind, Args> rows(int group) const {
    return {all, (static_cast<i64>(tile) * Groups + group) * 4};
  }
  KERNEL_FN u32 stage(u32 step) const { return ring + step % Stages * Shared::kStageBytes; }

  KERNEL_FN void copy_weights(u32 step) const {
    const u32 bar = full + step % Stages * 8;
    mbarrier_expect_tx(bar, Shared::kStageBytes);
#pragma unroll
    for (int i = 0; i < Groups * Shared::kBoxes; ++i)
      tensor_copy(stage(step) + i * Shared::kBoxBytes, linear_of(all).w_map, (begin + step) * Shared::kDepth,
                  rows(i / Shared::kBoxes).template first_row<Shared::kBoxRows>(i % Shared::kBoxes), bar, kCacheFirstOut);
  }
  KERNEL_FN void copy_tokens(u32 step) const {
    tensor_copy(stage(step) + Shared::kWeightBytes, linear_of(all).x_map, (begin + step) * Shared::kDepth, 0,
                full + step % Stages * 8, kCacheNormal);
  }
  // By one thread.
  KERNEL_FN void fill() const {
    tensor_map_acquire(linear_of(all).x_map);
    tensor_map_acquire(linear_of(all).w_map);
    const u32 ahead = steps < Stages ? steps : Stages;
    for (u32 step = 0; step < ahead; ++step) copy_weights(step);
    dependency_wait();
    dependency_trigger();
    for (u32 step = 0; step < ahead; ++step) copy_tokens(step);
    for (u32 step = ahead; step < steps; ++step) {
      mbarrier_wait(empty + step % Stages * 8, (step / Stages - 1) & 1);
      copy_weights(step);
      copy_tokens(step);
    }
  }

  // The sums of a warpgroup's rows, and N tokens.
  template <typename W, int N>
  KERNEL_FN void multiply(float (&sum)[N / 2], int group) const {
#pragma unroll
    for (int i = 0; i < N / 2; ++i) sum[i] = 0.0f;
    for (u32 step = 0; step < steps; ++step) {
      mbarrier_wait(full + step % Stages * 8, step / Stages & 1);
      const u64 weights = wgmma_operand(stage(step) + group * Shared::kGroupBytes),
                tokens = wgmma_operand(stage(step) + Shared::kWeightBytes);
      wgmma_fence();
#pragma unroll
      for (int kk = 0; kk < Shared::kDepth / 16; ++kk) wgmma<W, N>(sum, weights + kk * 2, tokens + kk * 2, 1);
      wgmma_commit();
      wgmma_wait<0>();
      mbarrier_arrive_warp(empty + step % Stages * 8);
    }
    wgmma_finished(sum);
  }
};

template <typename W, typename A, typename KV, int Groups, int N, int Stages, Epilogue Kind, int Splits, typename Args>
KERNEL_FN void wgmma_cluster_tile(const Args& all, Tile grid_tile, char* shared) {
  using Shared = WgmmaClusterShared<Groups, N, Stages, Kind>;
  constexpr int kConsumers = 128 * Groups, kConsumerWarps = kConsumers / kWarp, kMaxBatch = 4;
  using Finish = ClusterFinish<4 * Groups, N, Splits, Kind, Args, kConsumers, 0, kMaxBatch>;
  static_assert(sizeof(W) == 2 && sizeof(A) == 2 && Splits > 1, "operands of wgmma, blocks of a cluster");
  static_assert(Finish::kPartialBytes <= Shared::kFinish, "sums take the place of the ring");
  const u32 tile = grid_tile.x / Splits, split = grid_tile.x % Splits;
  const WgmmaClusterShare<Shared, Groups, Stages, Kind, Args> share(all, tile, split, Splits, shared_address(shared));
  const Finish finish(all, tile, split, 0, shared + Shared::kFinish);
  const int warp = threadIdx.x / kWarp;
  if (threadIdx.x == 0) {
    for (int s = 0; s < Stages; ++s) {
      mbarrier_init(share.full + s * 8, 1);
      mbarrier_init(share.empty + s * 8, kConsumerWarps * kWarpArrivals);
    }
    fence_barrier_init();
  }
  __syncthreads();

  if (warp >= kConsumerWarps) {
    if (warp > kConsumerWarps) {
      dependency_wait();
      finish.template prepare<Shared::kHelpers, kConsumers + kWarp, 2>();
    } else if (threadIdx.x % kWarp == 0) {
      share.fill();
    }
    cluster_sync();  // the sums of all blocks stand in their shared memory
    cluster_sync();  // and are read
    return;
  }
  dependency_wait();
  float sum[N / 2];
  const int group = warp / 4, eight = warp % 4 * 2, first = group * 64;
  share.template multiply<W, N>(sum, group);
  named_barrier_sync(1, kConsumers);  // the ring is read
  const auto rows = share.rows(group);
  finish.leave(shared, sum, first + rows.place(eight), first + rows.place(eight + 1));
  const auto inputs = finish.template load_inputs<A>(0);
  cluster_sync();
  finish.template store<A, KV>(shared, inputs);
}

template <typename W, typename A, int Groups, int N, int Stages, Epilogue Kind, int Splits>
KERNEL_FN void linear_wgmma_cluster(const FusedLinearArgs& args, Tile tile, char* shared) {
  static_assert(Kind == Epilogue::kAdd || Kind == Epilogue::kPlain, "a unit of 16 consecutive rows");
  wgmma_cluster_tile<W, A, float, Groups, N, Stages, Kind, Splits>(args, tile, shared);
}

// RoPE over whole heads of HeadDim.
template <typename W, typename A, typename KV, int HeadDim, int Groups, int N, int Stages, int Splits>
KERNEL_FN void linear_wgmma_cluster_rope(const LinearRopeArgs& args, Tile tile, char* shared) {
  static_assert(HeadDim % 64 == 0, "a warpgroup's rows are of one head");
  wgmma_cluster_tile<W, A, KV, Groups, N, Stages, Epilogue::kRope, Splits>(args, tile, shared);
}
