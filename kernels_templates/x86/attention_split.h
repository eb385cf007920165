// Decode attention whose KV entries are split over the grid's z, so that few KV heads and long contexts occupy all
// threads. The split that finishes last merges all, in their order.
#pragma once

#include "x86/attention_lanes.h"

constexpr i64 kSplitEntries = 256;  // the fewest that are worth a split

// Where split s of query row r leaves its sums of weighted values, largest score and sum of weights.
KERNEL_FN float* split_result(const AttentionArgs& a, i64 row, i64 split) {
  return a.workspace + (row * a.splits + split) * (a.kv.head_dim + 2);
}

template <typename X>
KERNEL_FN void merge_splits(const AttentionArgs& a, i64 row, i64 splits) {
  const i64 d = a.kv.head_dim;
  float maximum = -__builtin_inff(), total = 0, factor[64];
  for (i64 s = 0; s < splits; ++s) maximum = __builtin_fmaxf(maximum, split_result(a, row, s)[d]);
  for (i64 s = 0; s < splits; ++s) {
    factor[s] = exp1(split_result(a, row, s)[d] - maximum);
    total += factor[s] * split_result(a, row, s)[d + 1];
  }
  X* out = static_cast<X*>(a.out) + row * d;
  for (i64 j = 0; j < d; ++j) {
    float sum = 0;
    for (i64 s = 0; s < splits; ++s) sum += factor[s] * split_result(a, row, s)[j];
    out[j] = from_float<X>(sum / total);
  }
}

// Tile: x = query head, of which the first of each KV head does the work of all; y = token; z = split.
template <typename X, typename KV>
KERNEL_FN void attention_split(const AttentionArgs& a, Tile tile) {
  const i64 d = a.kv.head_dim;
  for_each_sequence<kMostLanes>(a, tile, 1, [&](QueryLanes<kMostLanes>& lanes, i64 slot, i64 kv_head) {
    const i64 entries = lanes.last - lanes.first + 1;
    const i64 splits = min_of(a.splits, (entries + kSplitEntries - 1) / kSplitEntries), split = tile.z;
    if (split >= splits) return;
    const i64 begin = lanes.first + entries * split / splits, end = lanes.first + entries * (split + 1) / splits;
    lanes.first = begin, lanes.last = end - 1;
    for (i64 lane = 0; lane < lanes.count; ++lane)
      lanes.lane_first[lane] = static_cast<i32>(begin), lanes.lane_last[lane] = static_cast<i32>(end - 1);
    attend_few<KV>(a, lanes, slot, kv_head, [&](i64 lane, const float* sums, i64 stride, float maximum, float total) {
      if (splits == 1) {
        X* out = static_cast<X*>(a.out) + lanes.row[lane] * d;
        for (i64 j = 0; j < d; ++j) out[j] = from_float<X>(sums[j * stride] / total);
        return;
      }
      float* result = split_result(a, lanes.row[lane], split);
      for (i64 j = 0; j < d; ++j) result[j] = sums[j * stride];
      result[d] = maximum, result[d + 1] = total;
    });
    if (splits == 1) return;
    // One count for all lanes: that of the first.
    u32* arrived = a.arrivals + lanes.row[0];
    if (__atomic_add_fetch(arrived, 1u, __ATOMIC_ACQ_REL) != static_cast<u32>(splits)) return;
    *arrived = 0;
    for (i64 lane = 0; lane < lanes.count; ++lane) merge_splits<X>(a, lanes.row[lane], splits);
  });
}
