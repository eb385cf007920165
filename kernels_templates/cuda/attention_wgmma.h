// Paged attention for many query tokens on Hopper, in the form of FlashAttention-3 (Shah et al., 2024): sm_90a,
// operands and cache of one 16-bit type. q, times the scale, and the weights p are rounded to that type; sums and
// softmax are fp32. See AttentionArgs.
#pragma once

#include "cuda/attention_wgmma_load.h"

// Scores of this thread's two rows -> weights relative to the rows' new maxima; `rescale` takes what was summed before
// to them. Scores are in units of log2, entry `base` + 8 * j + 2 * t + i % 2 in score[4 * j + i], of row i / 2.
struct AttentionSoftmax {
  float maximum[2] = {-kInfinity, -kInfinity}, sum[2] = {};  // of sums this lane's share: the four are added at the end
  float rescale[2] = {};

  template <int Entries>
  KERNEL_FN void update(float (&score)[Entries / 2]) {
    constexpr int kTiles = Entries / 8, kChains = 2;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float top[kChains] = {maximum[h], -kInfinity};
#pragma unroll
      for (int j = 0; j < kTiles; ++j)
        top[j % kChains] = fmaxf(top[j % kChains], fmaxf(score[4 * j + 2 * h], score[4 * j + 2 * h + 1]));
      const float highest = warp_max<4>(fmaxf(top[0], top[1]));
      const float reference = highest == -kInfinity ? 0.0f : highest;
      rescale[h] = exp2_fast(maximum[h] - reference);
      maximum[h] = highest;
      float part[kChains] = {};
#pragma unroll
      for (int j = 0; j < kTiles; ++j) {
#pragma unroll
        for (int i = 2 * h; i < 2 * h + 2; ++i) {
          score[4 * j + i] = exp2_fast(score[4 * j + i] - reference);
          part[j % kChains] += score[4 * j + i];
        }
      }
      sum[h] = sum[h] * rescale[h] + (part[0] + part[1]);
    }
  }
};

// The entries that each of this thread's two rows attends to, and whether all 16 rows of the warp attend to all of a
// step.
struct AttentionMask {
  int last[2];  // highest entry of the row, -1: none
  int window, lowest, highest;

  KERNEL_FN AttentionMask(const AttentionArgs& args, int row_low, int first, int end)
      : window(args.window > 0 ? static_cast<int>(min_of(args.window, 0x7fffffffll)) : 0x7fffffff) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = row_low + h * 8;
      last[h] = row >= first && row < end ? args.kv_index[row] : -1;
    }
    lowest = min_of(last[0], last[1]), highest = max_of(last[0], last[1]);
#pragma unroll
    for (int offset = 4; offset < kWarp; offset *= 2) {
      lowest = min_of(lowest, __shfl_xor_sync(kAllLanes, lowest, offset));
      highest = max_of(highest, __shfl_xor_sync(kAllLanes, highest, offset));
    }
  }

  template <int Entries>
  KERNEL_FN void apply(float (&score)[Entries / 2], int base) const {
    if (base + Entries - 1 <= lowest && base > highest - window) return;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int end = last[h] - base - static_cast<int>(threadIdx.x % 4 * 2), begin = end - window;
#pragma unroll
      for (int j = 0; j < Entries / 8; ++j) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float& s = score[4 * j + 2 * h + i];
          s = j * 8 + i > end || j * 8 + i <= begin ? -kInfinity : s;
        }
      }
    }
  }
};

// A warpgroup's rows, divided by their sums, through its part of the queries' shared memory to memory.
template <typename A, typename Ring, int Count>
KERNEL_FN void attention_store(const AttentionArgs& args, char* shared, const float (&out)[Count],
                               const AttentionSoftmax& softmax, int group, int row0, int row_end, i64 head) {
  const int warp_row = group * 64 + threadIdx.x / kWarp % 4 * 16, lane = threadIdx.x % kWarp, g = lane / 4,
            t = lane % 4;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const float share = 1.0f / warp_sum<4>(softmax.sum[h]);
#pragma unroll
    for (int c = 0; c < Ring::kChunks; ++c) {
      char* to = shared + c / 8 * Ring::kQueryPanelBytes + Ring::swizzled(warp_row + g + h * 8, c) + t * 4;
      *reinterpret_cast<u32*>(to) = pack2<A>(out[4 * c + 2 * h] * share, out[4 * c + 2 * h + 1] * share);
    }
  }
  __syncwarp();
#pragma unroll 4
  for (int i = lane; i < 16 * Ring::kChunks; i += kWarp) {
    const int r = warp_row + i / Ring::kChunks, c = i % Ring::kChunks;
    if (row0 + r >= row_end) break;
    const char* from = shared + c / 8 * Ring::kQueryPanelBytes + Ring::swizzled(r, c);
    A* to = static_cast<A*>(args.out) + ((row0 + r) * args.heads + head) * (Ring::kChunks * 8) + c * 8;
    *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
  }
}

// A block takes tile after tile of 128 query tokens of one head, those with the longest context first. Warpgroup 0
// gathers pages of keys and of values into two rings of `Stages` x `Entries` cache entries; warpgroups 1 and 2 compute
// 64 rows each: the scores of the next entries are multiplied while the last ones go through softmax and values. A tile
// of rows may span sequences: each in turn, the rows of the others masked. Tile: x of nx = a share of the tiles; y is
// not used. 384 threads; 128 * (128 + 2 * Stages * Entries) * ceil(HeadDim / 64) + 32 * Stages bytes of shared memory.
template <typename A, typename KV, int HeadDim, int Entries, int Stages>
KERNEL_FN void attention_wgmma(const AttentionArgs& args, Tile tile, char* shared) {
  using Ring = AttentionRing<HeadDim, Entries, Stages>;
  constexpr int kThreads = 128, kConsumerWarps = 8, kScoreSteps = HeadDim / 16, kValueSteps = Entries / 16;
  constexpr int kGatherRegisters = HeadDim > 128 ? 40 : 72, kMultiplyRegisters = HeadDim > 128 ? 232 : 216;
  static_assert(sizeof(A) == 2 && sizeof(KV) == 2 && HeadDim % 32 == 0, "see above");
  const Ring ring(shared);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  if (threadIdx.x == 0) {
    for (u32 s = 0; s < Stages * 8; s += 8) {
      mbarrier_init(ring.keys_full + s, kThreads);
      mbarrier_init(ring.values_full + s, kThreads);
      mbarrier_init(ring.keys_empty + s, kConsumerWarps * kWarpArrivals);
      mbarrier_init(ring.values_empty + s, kConsumerWarps * kWarpArrivals);
    }
  }
  __syncthreads();
  dependency_wait();
  dependency_trigger();
  const int tokens = args.counts->rows[kRowsTokens];
  const AttentionTiles tiles = {static_cast<u32>((tokens + Ring::kQueries - 1) / Ring::kQueries),
                                static_cast<u32>(args.heads), tile.x, tile.nx};
  if (warp < 4) {
    registers_shrink<kGatherRegisters>();
    attention_gather<KV>(args, tiles, ring, tokens);
    return;
  }
  registers_grow<kMultiplyRegisters>();
  const int group = warp / 4 - 1;
  const u64 query0 = wgmma_operand(ring.queries + group * 64 * Ring::kRowBytes), key0 = wgmma_operand(ring.keys);
  const u64 value0 = wgmma_operand_by_k(ring.values, Ring::kPanelBytes);
  AttentionStage<Stages> key_at, value_at;
  float score[Entries / 2], out[HeadDim / 2];
  u32 p[kValueSteps][4];

  const auto release = [&](u32 empty, AttentionStage<Stages>& at) {
    mbarrier_arrive_warp(empty + at.stage * 8);
    at.advance();
  };
  const auto multiply_keys = [&] {
    mbarrier_wait(ring.keys_full + key_at.stage * 8, key_at.parity);
    fence_shared_async();
    wgmma_fence();
#pragma unroll
    for (u32 s = 0; s < kScoreSteps; ++s) {
      wgmma<KV, Entries>(score, query0 + s / 4 * (Ring::kQueryPanelBytes >> 4) + s % 4 * 2,
                         key0 + key_at.stage * (Ring::kStageBytes >> 4) + s / 4 * (Ring::kPanelBytes >> 4) + s % 4 * 2,
                         s);
    }
    wgmma_commit();
  };
  const auto multiply_values = [&] {
    mbarrier_wait(ring.values_full + value_at.stage * 8, value_at.parity);
    fence_shared_async();
    wgmma_fence();
#pragma unroll
    for (u32 s = 0; s < kValueSteps; ++s) {
      const u64 value = value0 + value_at.stage * (Ring::kStageBytes >> 4) + s * (16 * Ring::kRowBytes >> 4);
      if constexpr (HeadDim == 96) {  // one and a half panels
        wgmma_by_k<KV, 64>(reinterpret_cast<float(&)[32]>(out), p[s], value);
        wgmma_by_k<KV, 32>(reinterpret_cast<float(&)[16]>(out[32]), p[s], value + (Ring::kPanelBytes >> 4));
      } else {
        wgmma_by_k<KV, HeadDim>(out, p[s], value);
      }
    }
    wgmma_commit();
  };
  const auto keys_done = [&] {
    wgmma_finished(score);
    release(ring.keys_empty, key_at);
  };
  const auto values_done = [&] {
    wgmma_wait<0>();
    wgmma_finished(out);
    wgmma_used(p);
    release(ring.values_empty, value_at);
  };
  const auto pack_weights = [&] {  // the scores of two neighbouring tiles are, as they lie, the A fragment of a product
#pragma unroll
    for (int s = 0; s < kValueSteps; ++s) {
#pragma unroll
      for (int i = 0; i < 4; ++i) p[s][i] = pack2<KV>(score[8 * s + 2 * i], score[8 * s + 2 * i + 1]);
    }
  };
  const auto skip = [&](int steps) {  // what only the other warpgroup's rows attend to
    for (; steps > 0; --steps) {
      mbarrier_wait(ring.keys_full + key_at.stage * 8, key_at.parity);
      mbarrier_wait(ring.values_full + value_at.stage * 8, value_at.parity);
      __syncwarp();
      release(ring.keys_empty, key_at);
      release(ring.values_empty, value_at);
    }
  };

  for (u32 round = 0; round < tiles.rounds(); ++round) {
    int row0;
    i64 head;
    if (!tiles.at(round, row0, head)) continue;
    const int row_end = min_of(row0 + Ring::kQueries, tokens), group_row = row0 + group * 64;
    named_barrier_sync(1 + group, kThreads);  // the last tile is stored
    attention_load_queries<KV, Ring>(args, shared, group, row0, row_end, head);
    fence_shared_async();
    named_barrier_sync(1 + group, kThreads);

    AttentionSoftmax softmax;
#pragma unroll
    for (int i = 0; i < HeadDim / 2; ++i) out[i] = 0.0f;
    for (int first = row0; first < row_end;) {
      const AttentionSegment segment(args, first, row_end);
      const int own_first = max_of(first, group_row), own_end = min_of(segment.end, group_row + 64);
      const int steps = (segment.range.end - segment.base + Entries - 1) / Entries;
      int step = steps, step_end = steps;
      if (own_first < own_end) {
        const EntryRange own = entry_range(args, own_first, own_end);
        step = (own.begin - segment.base) / Entries, step_end = (own.end - segment.base + Entries - 1) / Entries;
      }
      const AttentionMask mask(args, group_row + warp % 4 * 16 + lane / 4, first, segment.end);
      first = segment.end;
      skip(step);
      if (step < step_end) {
        multiply_keys();
        wgmma_wait<0>();
        keys_done();
        mask.apply<Entries>(score, segment.base + step * Entries);
        softmax.update<Entries>(score);  // rows of this segment have summed nothing yet: no rescaling
        pack_weights();
        while (++step < step_end) {
          multiply_keys();
          multiply_values();
          wgmma_wait<1>();
          keys_done();
          mask.apply<Entries>(score, segment.base + step * Entries);
          softmax.update<Entries>(score);
          // Passes at once: keeps the compiler from moving the wait for the values ahead of the softmax.
          mbarrier_wait(ring.values_full + value_at.stage * 8, value_at.parity);
          values_done();
#pragma unroll
          for (int i = 0; i < HeadDim / 2; ++i) out[i] *= softmax.rescale[i / 2 % 2];
          pack_weights();
        }
        multiply_values();
        values_done();
      }
      skip(steps - step_end);
    }
    named_barrier_sync(1 + group, kThreads);  // the queries are used
    attention_store<A, Ring>(args, shared, out, softmax, group, row0, row_end, head);
  }
}
