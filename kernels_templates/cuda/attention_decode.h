// Paged attention for few query tokens: bound by reading the cache once. See AttentionArgs.
#pragma once

#include "cuda/attention.h"

// The smallest power of two that is at least n.
constexpr int power_of_two_at_least(int n) {
  int p = 1;
  while (p < n) p *= 2;
  return p;
}

// Merges the partial results [4 warps, HeadChunk, HeadDim + 2] (accumulator, maximum in units of log2, sum) in warp
// order, and writes the output of heads head0 .. head0 + heads - 1, or this split's partial result where there are
// more.
template <typename A, int HeadDim, int HeadChunk>
KERNEL_FN void merge_warps(const AttentionArgs& args, Tile tile, const float* partial, i64 head0, int heads,
                           int splits) {
  constexpr int kWarps = 4, kStride = HeadDim + 2;
  const i64 token = tile.y;
  for (int i = threadIdx.x; i < heads * HeadDim; i += kWarps * kWarp) {
    const int h = i / HeadDim, d = i % HeadDim;
    float top = -kInfinity;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) top = fmaxf(top, partial[(w * HeadChunk + h) * kStride + HeadDim]);
    const float reference = top == -kInfinity ? 0.0f : top;
    float total = 0.0f, result = 0.0f;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      const float* row = partial + (w * HeadChunk + h) * kStride;
      const float weight = exp2_fast(row[HeadDim] - reference);
      total = fmaf(weight, row[HeadDim + 1], total);
      result = fmaf(weight, row[d], result);
    }
    const i64 head = head0 + h;
    if (splits == 1) {
      static_cast<A*>(args.out)[(token * args.heads + head) * HeadDim + d] = from_float<A>(result / total);
    } else {
      float* split = args.workspace + ((token * args.heads + head) * args.splits + tile.z) * kStride;
      split[d] = result;
      if (d == 0) {
        split[HeadDim] = top;
        split[HeadDim + 1] = total;
      }
    }
  }
}

// A block serves up to HeadChunk query heads of one kv head of one token, so that an entry is read once for all of
// them, over one split of its entries. Within a warp, HeadDim / 8 lanes hold one entry (8 values each); each such group
// of lanes keeps its own running maximum and sum over four entries at a time; groups, then warps, are merged at the end
// in a fixed order. Tile: x = chunk of heads, y = token, z = split. 128 threads; 16 * HeadChunk * (HeadDim + 2) bytes of
// shared memory.
template <typename A, typename KV, int HeadDim, int HeadChunk>
KERNEL_FN void attention_decode(const AttentionArgs& args, Tile tile, char* shared) {
  constexpr int kWarps = 4, kEntries = 4;
  constexpr int kLanes = power_of_two_at_least(HeadDim / 8);  // lanes an entry
  constexpr int kGroups = kWarp / kLanes;                     // entries a warp reads at once
  static_assert(HeadDim % 8 == 0 && HeadDim <= 256, "a lane holds eight values");
  const i64 token = tile.y;
  const int group_heads = static_cast<int>(static_cast<u32>(args.heads) / static_cast<u32>(args.kv.kv_heads));
  const int chunks = (group_heads + HeadChunk - 1) / HeadChunk;
  const int kv_head = static_cast<int>(tile.x) / chunks;
  if (token >= args.counts->rows[kRowsTokens]) return;
  const KvSplit split(args, args.kv_index[token], tile.z, static_cast<int>(args.splits));
  if (static_cast<int>(tile.z) >= split.count) return;
  const int first = static_cast<int>(tile.x) % chunks * HeadChunk;  // within the kv head's group
  const int heads = min_of(HeadChunk, group_heads - first);
  const i64 head0 = static_cast<i64>(kv_head) * group_heads + first;
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int group = lane / kLanes, dim = lane % kLanes * 8;
  const bool active = dim < HeadDim;  // head dims 80 and 96 leave lanes idle

  // Scores are kept in units of log2: exp becomes exp2.
  const float scale = static_cast<float>(args.scale) * kLog2E;
  float q[HeadChunk][8] = {};
#pragma unroll
  for (int h = 0; h < HeadChunk; ++h) {
    if (h < heads && active) unpack8(load8(args.q + (token * args.heads + head0 + h) * HeadDim + dim), q[h]);
#pragma unroll
    for (int j = 0; j < 8; ++j) q[h][j] *= scale;
  }

  const KvRows<KV> rows(args.kv, args.seq_slot[args.token_seq[token]], kv_head);
  const int begin = split.begin, end = split.end;

  float maximum[HeadChunk], sum[HeadChunk], out[HeadChunk][8];
#pragma unroll
  for (int h = 0; h < HeadChunk; ++h) {
    maximum[h] = -kInfinity;
    sum[h] = 0.0f;
#pragma unroll
    for (int j = 0; j < 8; ++j) out[h][j] = 0.0f;
  }

  // The trip count is the same for all lanes of a warp: the shuffles below need them all.
  constexpr int kStep = kWarps * kGroups;
  for (int base = begin; base < end; base += kStep * kEntries) {
    Packed8<KV> key[kEntries] = {}, value[kEntries] = {};
#pragma unroll
    for (int e = 0; e < kEntries; ++e) {
      const int entry = base + e * kStep + warp * kGroups + group;
      if (entry < end && active) {
        const KV* row = rows.key(entry) + dim;
        key[e] = load8(row);
        value[e] = load8(row + rows.value_offset);
      }
    }
    float score[HeadChunk][kEntries];
#pragma unroll
    for (int e = 0; e < kEntries; ++e) {
      const bool valid = base + e * kStep + warp * kGroups + group < end;
      float k[8];
      unpack8(key[e], k);
#pragma unroll
      for (int h = 0; h < HeadChunk; ++h) {
        if (h >= heads) break;
        float s = 0.0f;
#pragma unroll
        for (int j = 0; j < 8; ++j) s = fmaf(q[h][j], k[j], s);
        s = warp_sum<kLanes>(s);
        score[h][e] = valid ? s : -kInfinity;
      }
    }
#pragma unroll
    for (int h = 0; h < HeadChunk; ++h) {
      if (h >= heads) break;
      float top = maximum[h];
#pragma unroll
      for (int e = 0; e < kEntries; ++e) top = fmaxf(top, score[h][e]);
      // Nothing seen yet: any finite reference makes every term 0.
      const float reference = top == -kInfinity ? 0.0f : top;
      const float rescale = exp2_fast(maximum[h] - reference);
      maximum[h] = top;
      sum[h] *= rescale;
#pragma unroll
      for (int j = 0; j < 8; ++j) out[h][j] *= rescale;
#pragma unroll
      for (int e = 0; e < kEntries; ++e) {
        score[h][e] = exp2_fast(score[h][e] - reference);
        sum[h] += score[h][e];
      }
    }
#pragma unroll
    for (int e = 0; e < kEntries; ++e) {
      float v[8];
      unpack8(value[e], v);
#pragma unroll
      for (int h = 0; h < HeadChunk; ++h) {
        if (h >= heads) break;
#pragma unroll
        for (int j = 0; j < 8; ++j) out[h][j] = fmaf(score[h][e], v[j], out[h][j]);
      }
    }
  }

  // Merge the groups of the warp, then the warps.
  float* partial = reinterpret_cast<float*>(shared);  // [4 warps, HeadChunk, HeadDim + 2]
  constexpr int kStride = HeadDim + 2;
#pragma unroll
  for (int h = 0; h < HeadChunk; ++h) {
    if (h >= heads) break;
#pragma unroll
    for (int offset = kLanes; offset < kWarp; offset *= 2) {
      const float other = __shfl_xor_sync(kAllLanes, maximum[h], offset);
      const float top = fmaxf(maximum[h], other);
      const float reference = top == -kInfinity ? 0.0f : top;
      const float rescale = exp2_fast(maximum[h] - reference);
      // Both sides compute the sum of the same two products, so the lanes agree whichever side they are on.
      sum[h] *= rescale;
      sum[h] += __shfl_xor_sync(kAllLanes, sum[h], offset);
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        out[h][j] *= rescale;
        out[h][j] += __shfl_xor_sync(kAllLanes, out[h][j], offset);
      }
      maximum[h] = top;
    }
    float* row = partial + (warp * HeadChunk + h) * kStride;
    if (group == 0 && active) {
#pragma unroll
      for (int j = 0; j < 8; ++j) row[dim + j] = out[h][j];
    }
    if (lane == 0) {
      row[HeadDim] = maximum[h];
      row[HeadDim + 1] = sum[h];
    }
  }
  body_sync(kWarps * kWarp);
  merge_warps<A, HeadDim, HeadChunk>(args, tile, partial, head0, heads, split.count);
  if (split.count > 1) merge_splits<A, HeadDim>(args, token, head0, heads, split.count, shared);
}
