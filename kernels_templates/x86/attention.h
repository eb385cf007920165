// Paged causal attention: one query head of one token per tile, keys in chunks with a running maximum (online softmax).
#pragma once

#include "x86/rope.h"

constexpr i64 kChunk = 64;  // keys per softmax step: scores stay in registers and L1

template <typename KV>
KERNEL_FN float dot(const float* q, const KV* k, i64 d) {
  f32x16 acc{};
  i64 j = 0;
  for (; j + 16 <= d; j += 16) acc = fma16(load16(q + j), load16(k + j), acc);
  float total = sum(acc);
  for (; j < d; ++j) total += q[j] * to_float(k[j]);
  return total;
}

template <typename KV>
KERNEL_FN void accumulate(float* out, const KV* v, float weight, i64 d) {
  i64 j = 0;
  for (; j + 16 <= d; j += 16) store16(out + j, fma16(load16(v + j), splat(weight), load16(out + j)));
  for (; j < d; ++j) out[j] += weight * to_float(v[j]);
}

template <typename X, typename KV>
KERNEL_FN void attention(const AttentionArgs& a, Tile tile) {
  const i64 t = tile.y, h = tile.x, d = a.kv.head_dim;
  if (t >= a.counts->rows[kRowsTokens]) return;
  const i64 slot = a.seq_slot[a.token_seq[t]], last = a.kv_index[t];
  const i64 first = a.window > 0 ? max_of(0, last - a.window + 1) : 0;
  const i64 kv_head = h / (a.heads / a.kv.kv_heads);
  const float* q = a.q + (t * a.heads + h) * d;
  const float scale = static_cast<float>(a.scale);
  float acc[kMaxHeadDim] = {};
  float maximum = -__builtin_inff(), total = 0;
  for (i64 begin = first; begin <= last; begin += kChunk) {
    const i64 n = min_of(kChunk, last - begin + 1);
    float score[kChunk];
    float chunk_max = maximum;
    for (i64 i = 0; i < n; ++i) {
      score[i] = dot(q, kv_row<KV>(a.kv, slot, begin + i, kv_head, false), d) * scale *
                 kv_factor<KV>(a.kv, slot, begin + i, kv_head, false);
      chunk_max = score[i] > chunk_max ? score[i] : chunk_max;
    }
    const float rescale = exp1(maximum - chunk_max);  // 0 in the first chunk
    maximum = chunk_max;
    total *= rescale;
    for (i64 j = 0; j < d; ++j) acc[j] *= rescale;
    for (i64 i = n; i < kChunk; ++i) score[i] = -__builtin_inff();
    for (i64 i = 0; i < kChunk; i += 16) store16(score + i, exp16(load16(score + i) - maximum));
    for (i64 i = 0; i < n; ++i) {
      total += score[i];
      accumulate(acc, kv_row<KV>(a.kv, slot, begin + i, kv_head, true),
                 score[i] * kv_factor<KV>(a.kv, slot, begin + i, kv_head, true), d);
    }
  }
  X* out = static_cast<X*>(a.out) + (t * a.heads + h) * d;
  const float inverse = 1.0f / total;
  for (i64 j = 0; j < d; ++j) out[j] = from_float<X>(acc[j] * inverse);
}
