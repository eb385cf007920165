// Paged attention for few query tokens on tensor cores, for grouped queries: sm_80 and later, operands and cache of one
// 16-bit type. See AttentionArgs.
#pragma once

#include "cuda/attention_decode.h"
#include "cuda/tensor_core.h"

// The query heads of one kv head (16 at most in a block) are the rows of the products, so that an entry is read once
// for all of them. Each of four warps takes every fourth run of 16 entries of the split, a page in most layouts, and
// brings it in through its own ring of cp.async stages, without a block barrier; the warps are merged at the end in a
// fixed order. Ids of blocks are read a round before the copies that need them. `Stages` are those of head dimension
// 128; smaller ones have more of them, with as many bytes on their way. Tile: x = chunk of heads, y = token, z = split.
// 128 threads; 256 * Stages * 128 / HeadDim * (HeadDim + 8) bytes of shared memory.
//
// Link: how it is tied to what runs before and behind it. As a launch, by memory that is there when it begins. In a persistent kernel (kEarly) entries of
// earlier steps are on their way before link.wait() returns, when q and the entries of this step are written; or, with kExchange, these come
// and the results leave as words of an exchange (persistent_exchange.h).
struct LaunchLink {
  static constexpr bool kEarly = false, kExchange = false;
  KERNEL_FN void wait() const {}
};

// `most_splits` and `min_entries`: of KvSplit.
template <typename A, typename KV, int HeadDim, int Stages, typename Link>
KERNEL_FN void attention_decode_mma_after(const AttentionArgs& args, Tile tile, char* shared, int most_splits, int min_entries, const Link& link) {
  constexpr int kHeads = 16, kWarps = 4, kEntries = KvSplit::kRun, kStages = Stages * 128 / HeadDim;
  constexpr int kRowBytes = HeadDim * 2 + 16;  // rows of an ldmatrix phase in different banks
  constexpr int kStageBytes = 2 * kEntries * kRowBytes;
  constexpr int kSteps = HeadDim / 16, kOutTiles = HeadDim / 8, kChunks = HeadDim / 8;
  static_assert(HeadDim % 16 == 0, "whole fragments");
  // These three loads are on their way together: what they lead to, the slot, the block ids and the entries, is not.
  const i64 token = tile.y;
  const int tokens = args.counts->rows[kRowsTokens], sequence = args.token_seq[token], kv_index = args.kv_index[token];
  const int group_heads = static_cast<int>(static_cast<u32>(args.heads) / static_cast<u32>(args.kv.kv_heads));
  const int head_chunks = (group_heads + kHeads - 1) / kHeads;
  const int kv_head = head_chunks == 1 ? static_cast<int>(tile.x) : static_cast<int>(tile.x) / head_chunks;
  const KvSplit split(args, kv_index, tile.z, most_splits, min_entries);
  if (token >= tokens || static_cast<int>(tile.z) >= split.count) {
    link.wait();
    return;
  }
  const int first = (static_cast<int>(tile.x) - kv_head * head_chunks) * kHeads;  // within the kv head's group
  const int heads = min_of(kHeads, group_heads - first);
  const i64 head0 = static_cast<i64>(kv_head) * group_heads + first;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int g = lane / 4, t = lane % 4;

  const KvRows<KV> rows(args.kv, args.seq_slot[sequence], kv_head);
  const int begin = split.begin, end = split.end;
  const bool whole_runs = rows.block_tokens % kEntries == 0;  // a run lies in one block
  const u32 stages = shared_address(shared) + warp * kStages * kStageBytes;
  constexpr int kStep = kWarps * kEntries;
  const int warp_begin = (begin & ~(kEntries - 1)) + warp * kEntries;
  // The block of a round's run, where it lies in one.
  const auto look_up = [&](int round) {
    const int base = warp_begin + round * kStep;
    return whole_runs && base < end ? rows.block_of(base) : 0;
  };
  const int fresh = args.kv_len[sequence] - (args.query_start[sequence + 1] - args.query_start[sequence]);  // the first of this step
  constexpr int kNone = -0x7fffffff - 1, kAll = 0x7fffffff;
  int brought = kAll;  // the first of those that the link brings
  if constexpr (Link::kExchange) brought = link.brings_entries() ? fresh : kAll;
  // The entries of a round from `from` to `to` - 1; not those that the link brings.
  const auto load = [&](int round, i32 block, int from, int to) {
    const int base = warp_begin + round * kStep;
    const u32 keys = stages + round % kStages * kStageBytes;
    const auto copy = [&](int i, const KV* row) {
      const u32 to_shared = keys + i / kChunks * kRowBytes + i % kChunks * 16;
      const int entry = base + i / kChunks;
      if (entry < from || entry >= to) return;
      if constexpr (Link::kExchange) {
        if (entry >= brought && entry < end) return;
      }
      const bool valid = entry >= begin && entry < end;
      copy_async16(to_shared, row, valid);
      copy_async16(to_shared + kEntries * kRowBytes, row + rows.value_offset, valid);
    };
    if (base >= end) return;
    if (whole_runs) {
      const KV* page = rows.key_in(block, rows.row_of(base));
#pragma unroll
      for (int i = lane; i < kEntries * kChunks; i += kWarp) copy(i, page + i * 8);
    } else {
#pragma unroll 1
      for (int i = lane; i < kEntries * kChunks; i += kWarp) {
        const int entry = base + i / kChunks;
        copy(i, rows.key(entry >= begin && entry < end ? entry : begin) + i % kChunks * 8);
      }
    }
  };

  i32 block[kStages];
#pragma unroll
  for (int s = 0; s < kStages; ++s) block[s] = look_up(s);
  if constexpr (!Link::kExchange) {
#pragma unroll
    for (int s = 0; s < kStages - 1; ++s) load(s, block[s], kNone, Link::kEarly ? fresh : kNone);
  }
  link.wait();
#pragma unroll
  for (int s = 0; s < kStages - 1; ++s) {
    load(s, block[s], Link::kEarly ? fresh : kNone, kAll);
    copy_async_commit();
  }
  i32 next_block = block[kStages - 1];

  const float scale = static_cast<float>(args.scale) * kLog2E;
  u32 q[kSteps][4];
  const auto load_queries = [&] {
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int h = g + j % 2 * 8;
        float2 v = make_float2(0.0f, 0.0f);
        if (h < heads) {
          v = *reinterpret_cast<const float2*>(args.q + (token * args.heads + head0 + h) * HeadDim + s * 16 + j / 2 * 8 +
                                               t * 2);
        }
        q[s][j] = pack2<KV>(v.x, v.y);
      }
    }
  };
  if constexpr (Link::kExchange) {
    if (link.brings_entries())
      link.template receive_queries<HeadDim>((token * args.heads + head0) * HeadDim, heads, q);
    else
      load_queries();
  } else {
    load_queries();
  }

  float out[kOutTiles][4] = {};
  float maximum[2] = {-kInfinity, -kInfinity}, sum[2] = {};
  int round = 0;
  for (int base = warp_begin; base < end; base += kStep, ++round) {
    load(round + kStages - 1, next_block, kNone, kAll);
    copy_async_commit();
    next_block = look_up(round + kStages);
    copy_async_wait<kStages - 1>();
    const u32 keys = stages + round % kStages * kStageBytes, values = keys + kEntries * kRowBytes;
    if constexpr (Link::kExchange) {
#pragma unroll 1
      for (int entry = max_of(max_of(base, begin), brought); entry < min_of(base + kEntries, end); ++entry) {
        const i64 row = args.query_start[sequence] + entry - fresh;
        char* key = shared + (keys - shared_address(shared)) + (entry - base) * kRowBytes;
        link.template receive_entry<HeadDim>((row * 2 * args.kv.kv_heads + kv_head) * HeadDim, args.kv.kv_heads * HeadDim, key,
                                             key + kEntries * kRowBytes);
      }
    }
    __syncwarp();  // every lane's part of this round is here

    float score[2][4] = {};
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
      // Matrices: (entries 0-7, d 0-7), (0-7, 8-15), (8-15, 0-7), (8-15, 8-15).
      u32 b[4];
      ldmatrix_x4(b, keys + (lane / 16 * 8 + lane % 8) * kRowBytes + s * 32 + lane / 8 % 2 * 16);
      mma_16816<KV>(score[0], q[s][0], q[s][1], q[s][2], q[s][3], b[0], b[1]);
      mma_16816<KV>(score[1], q[s][0], q[s][1], q[s][2], q[s][3], b[2], b[3]);
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float top = maximum[h];
#pragma unroll
      for (int n = 0; n < 2; ++n) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          float& s = score[n][h * 2 + j];
          const int entry = base + n * 8 + t * 2 + j;
          s = entry >= begin && entry < end ? s * scale : -kInfinity;
          top = fmaxf(top, s);
        }
      }
      top = warp_max<4>(top);  // finite: every run has a valid entry
      const float rescale = exp2_fast(maximum[h] - top);
      maximum[h] = top;
      sum[h] *= rescale;
#pragma unroll
      for (int n = 0; n < 2; ++n) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          float& s = score[n][h * 2 + j];
          s = exp2_fast(s - top);
          sum[h] += s;
        }
      }
#pragma unroll
      for (int n = 0; n < kOutTiles; ++n) {
        out[n][h * 2] *= rescale;
        out[n][h * 2 + 1] *= rescale;
      }
    }
    const u32 p[4] = {pack2<KV>(score[0][0], score[0][1]), pack2<KV>(score[0][2], score[0][3]),
                      pack2<KV>(score[1][0], score[1][1]), pack2<KV>(score[1][2], score[1][3])};
#pragma unroll
    for (int n = 0; n < kOutTiles; n += 2) {
      // Transposed on the way: (entries 0-7, d 0-7), (8-15, 0-7), (0-7, d 8-15), (8-15, 8-15).
      u32 b[4];
      ldmatrix_x4_transposed(b, values + lane % 16 * kRowBytes + n * 16 + lane / 16 * 16);
      mma_16816<KV>(out[n], p[0], p[1], p[2], p[3], b[0], b[1]);
      mma_16816<KV>(out[n + 1], p[0], p[1], p[2], p[3], b[2], b[3]);
    }
    __syncwarp();  // the stage is free
  }
  copy_async_wait<0>();
  body_sync(kWarps * kWarp);  // the stages become the warps' partial results

  float* partial = reinterpret_cast<float*>(shared);  // [4 warps, 16 heads, HeadDim + 2]
  constexpr int kStride = HeadDim + 2;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    float* row = partial + (warp * kHeads + g + h * 8) * kStride;
#pragma unroll
    for (int n = 0; n < kOutTiles; ++n) {
      row[n * 8 + t * 2] = out[n][h * 2];
      row[n * 8 + t * 2 + 1] = out[n][h * 2 + 1];
    }
    const float total = warp_sum<4>(sum[h]);
    if (t == 0) {
      row[HeadDim] = maximum[h];
      row[HeadDim + 1] = total;
    }
  }
  body_sync(kWarps * kWarp);
  if constexpr (Link::kExchange) {
    link.template merge<A, HeadDim, kHeads>(args, tile, partial, head0, heads, split.count, most_splits);
  } else {
    merge_warps<A, HeadDim, kHeads>(args, tile, partial, head0, heads, split.count);
    if (split.count > 1) merge_splits<A, HeadDim>(args, token, head0, heads, split.count, shared);
  }
}

template <typename A, typename KV, int HeadDim, int Stages>
KERNEL_FN void attention_decode_mma(const AttentionArgs& args, Tile tile, char* shared) {
  attention_decode_mma_after<A, KV, HeadDim, Stages>(args, tile, shared, static_cast<int>(args.splits), 128, LaunchLink());
}
