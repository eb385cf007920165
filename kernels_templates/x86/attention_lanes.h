// Paged causal attention, blocked: the queries of the heads that share a KV head stand in the lanes of vectors, so that
// each element of K and V, once widened, is multiplied into all of them. Keys in chunks with a running maximum (online
// softmax).
#pragma once

#include "x86/query_lanes.h"

constexpr i64 kMostLanes = 32;

// 16 * kVectors lanes; unused ones see nothing.
// finish(lane, sums, stride, maximum, total) gets each lane's sums of weighted values, `stride` apart, the largest
// score and the sum of the weights.
template <typename KV, int kVectors, typename Finish>
KERNEL_FN void attend_lanes(const AttentionArgs& a, const QueryLanes<kMostLanes>& lanes, i64 slot, i64 kv_head,
                            const Finish& finish) {
  constexpr i64 kLanes = 16 * kVectors, kKeys = 32;
  constexpr int kBlock = 4;  // keys, or elements of V, whose sums are kept in registers
  const i64 d = a.kv.head_dim;
  alignas(64) float query[kMaxHeadDim * kLanes], acc[kMaxHeadDim * kLanes], entry[kKeys * kMaxHeadDim],
      weight[kKeys * kLanes];
  i32x16 lane_first[kVectors], lane_last[kVectors];
  f32x16 maximum[kVectors], total[kVectors];
  i32 every_last = 0x7fffffff, every_first = 0;
  for (int v = 0; v < kVectors; ++v) {
    maximum[v] = splat(-__builtin_inff()), total[v] = f32x16{};
    for (int i = 0; i < 16; ++i) {
      const i64 lane = v * 16 + i;
      const bool used = lane < lanes.count;
      lane_first[v][i] = used ? lanes.lane_first[lane] : 0x7fffffff;
      lane_last[v][i] = used ? lanes.lane_last[lane] : -1;
      if (used) every_last = lane_last[v][i] < every_last ? lane_last[v][i] : every_last;
      if (used) every_first = lane_first[v][i] > every_first ? lane_first[v][i] : every_first;
    }
  }
  for (i64 lane = 0; lane < kLanes; ++lane)
    for (i64 j = 0; j < d; ++j) query[j * kLanes + lane] = lane < lanes.count ? a.q[lanes.row[lane] * d + j] : 0.0f;
  for (i64 j = 0; j < d * kLanes; j += 16) store16(acc + j, f32x16{});

  const auto widen = [&](i64 begin, i64 n, bool value) {
    for (i64 i = 0; i < kKeys; ++i) {
      float* out = entry + i * d;
      if (i >= n) {  // multiplied by weights of zero
        if (i % kBlock == 0) break;
        for (i64 j = 0; j < d; ++j) out[j] = 0.0f;
        continue;
      }
      const KV* row = kv_row<KV>(a.kv, slot, begin + i, kv_head, value);
      const float factor = kv_factor<KV>(a.kv, slot, begin + i, kv_head, value);
      i64 j = 0;
      for (; j + 16 <= d; j += 16) store16(out + j, load16(row + j) * factor);
      for (; j < d; ++j) out[j] = to_float(row[j]) * factor;
    }
  };
  for (i64 begin = lanes.first; begin <= lanes.last; begin += kKeys) {
    const i64 n = min_of(kKeys, lanes.last - begin + 1);
    const bool masked = begin < every_first || begin + n - 1 > every_last || lanes.count < kLanes;
    widen(begin, n, false);
    f32x16 top[kVectors];
    for (int v = 0; v < kVectors; ++v) top[v] = maximum[v];
    for (i64 key = 0; key < n; key += kBlock) {
      f32x16 score[kBlock][kVectors] = {};
      for (i64 j = 0; j < d; ++j)
        for (int b = 0; b < kBlock; ++b)
          for (int v = 0; v < kVectors; ++v)
            score[b][v] = fma16(load16(query + j * kLanes + v * 16), splat(entry[(key + b) * d + j]), score[b][v]);
      for (int b = 0; b < kBlock; ++b)
        for (int v = 0; v < kVectors; ++v) {
          f32x16 s = score[b][v] * static_cast<float>(a.scale);
          if (masked || key + b >= n) {
            const i32x16 index = i32x16{} + static_cast<i32>(begin + key + b);
            s = (index < lane_first[v]) | (index > lane_last[v]) ? splat(-__builtin_inff()) : s;
          }
          top[v] = s > top[v] ? s : top[v];
          store16(weight + (key + b) * kLanes + v * 16, s);
        }
    }
    f32x16 rescale[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      const f32x16 base = top[v] == -__builtin_inff() ? f32x16{} : top[v];  // a lane that has seen nothing yet
      rescale[v] = exp16(maximum[v] - base);
      maximum[v] = top[v];
      total[v] *= rescale[v];
      for (i64 key = 0; key < (n + kBlock - 1) / kBlock * kBlock; ++key) {
        const f32x16 p = exp16(load16(weight + key * kLanes + v * 16) - base);
        total[v] += p;
        store16(weight + key * kLanes + v * 16, p);
      }
    }
    widen(begin, n, true);
    const auto accumulate_from = [&]<int kElements>(i64 j) {
      f32x16 sum[kElements][kVectors];
      for (int e = 0; e < kElements; ++e)
        for (int v = 0; v < kVectors; ++v) sum[e][v] = load16(acc + (j + e) * kLanes + v * 16) * rescale[v];
      for (i64 key = 0; key < n; ++key)
        for (int e = 0; e < kElements; ++e)
          for (int v = 0; v < kVectors; ++v)
            sum[e][v] = fma16(load16(weight + key * kLanes + v * 16), splat(entry[key * d + j + e]), sum[e][v]);
      for (int e = 0; e < kElements; ++e)
        for (int v = 0; v < kVectors; ++v) store16(acc + (j + e) * kLanes + v * 16, sum[e][v]);
    };
    i64 j = 0;
    for (; j + kBlock <= d; j += kBlock) accumulate_from.template operator()<kBlock>(j);
    for (; j < d; ++j) accumulate_from.template operator()<1>(j);
  }
  for (i64 lane = 0; lane < lanes.count; ++lane)
    finish(lane, acc + lane, kLanes, maximum[lane / 16][lane % 16], total[lane / 16][lane % 16]);
}

template <typename KV, typename Finish>
KERNEL_FN void attend_few(const AttentionArgs& a, const QueryLanes<kMostLanes>& lanes, i64 slot, i64 kv_head,
                          const Finish& finish) {
  if (lanes.count > 16)
    attend_lanes<KV, 2>(a, lanes, slot, kv_head, finish);
  else
    attend_lanes<KV, 1>(a, lanes, slot, kv_head, finish);
}

// Tile: x = query head, of which the first of each KV head does the work of all; y = kRows tokens.
template <typename X, typename KV, i64 kRows>
KERNEL_FN void attention_lanes(const AttentionArgs& a, Tile tile) {
  for_each_sequence<kMostLanes>(a, tile, kRows, [&](const QueryLanes<kMostLanes>& lanes, i64 slot, i64 kv_head) {
    attend_few<KV>(a, lanes, slot, kv_head, [&](i64 lane, const float* sums, i64 stride, float, float total) {
      X* out = static_cast<X*>(a.out) + lanes.row[lane] * a.kv.head_dim;
      const float inverse = 1.0f / total;
      for (i64 j = 0; j < a.kv.head_dim; ++j) out[j] = from_float<X>(sums[j * stride] * inverse);
    });
  });
}
