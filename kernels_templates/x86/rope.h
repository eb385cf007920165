// rope_table, rope, kv_write and the fused rope_kv_write.
#pragma once

#include "x86/kv_cache.h"
#include "x86/norm.h"

KERNEL_FN void rope_table(const RopeTableArgs& a, Tile tile) {
  const i64 t = tile.y;
  if (t >= a.counts->rows[kRowsTokens]) return;
  float *cosine = a.table + t * 2 * a.half, *sine = cosine + a.half;
  for (i64 j = 0; j < a.half; ++j) {
    sincos1(static_cast<float>(a.positions[t]) * a.inv_freq[j], &sine[j], &cosine[j]);
    sine[j] *= static_cast<float>(a.factor);
    cosine[j] *= static_cast<float>(a.factor);
  }
}

// out = rotation of x; table holds the token's cos, then sin.
template <typename T>
KERNEL_FN void rotate_head(const float* x, const float* table, T* out, i64 half, i64 head_dim) {
  i64 i = 0;
  for (; i + 16 <= half; i += 16) {
    const f32x16 c = load16(table + i), s = load16(table + half + i), a = load16(x + i), b = load16(x + i + half);
    store16(out + i, a * c - b * s);
    store16(out + i + half, b * c + a * s);
  }
  for (i64 j = i; j < half; ++j) {
    const float c = table[j], s = table[half + j], a = x[j], b = x[j + half];
    out[j] = from_float<T>(a * c - b * s);
    out[j + half] = from_float<T>(b * c + a * s);
  }
  for (i64 j = 2 * half; j < head_dim; ++j) out[j] = from_float<T>(x[j]);
}

KERNEL_FN void rope(const RopeArgs& a, Tile tile) {
  const i64 t = tile.y, h = tile.x;
  if (t >= a.counts->rows[kRowsTokens]) return;
  rotate_head(a.x + t * a.x_stride + h * a.head_dim, a.table + t * 2 * a.half, a.out + (t * a.heads + h) * a.head_dim, a.half, a.head_dim);
}

template <typename KV>
KERNEL_FN void kv_write(const KvWriteArgs& a, Tile tile) {
  const i64 t = tile.y, h = tile.x, d = a.kv.head_dim;
  if (t >= a.counts->rows[kRowsTokens]) return;
  const i64 slot = a.seq_slot[a.token_seq[t]], index = a.kv_index[t];
  write_entry<KV>(a.kv, slot, index, h, false, a.k + t * a.k_stride + h * d);
  write_entry<KV>(a.kv, slot, index, h, true, a.v + t * a.v_stride + h * d);
}

template <typename W, typename KV>
KERNEL_FN void rope_kv_write(const RopeKvWriteArgs& a, Tile tile) {
  const i64 t = tile.y, d = a.kv.head_dim;
  if (t >= a.counts->rows[kRowsTokens]) return;
  const i64 slot = a.seq_slot[a.token_seq[t]], index = a.kv_index[t];
  const float* table = a.table + t * 2 * a.half;
  i64 h = tile.x;
  float normed[kMaxHeadDim];
  const auto head = [&](const float* x, const void* weight) {
    if (!weight) return x;
    scale_row(x, static_cast<const W*>(weight), Operand<float>::at(normed, d), 0, 0, d, inverse_rms(x, d, a.eps));
    return static_cast<const float*>(normed);
  };
  if (h < a.heads) {
    rotate_head(head(a.q + t * a.q_stride + h * d, a.q_norm), table, a.q_out + (t * a.heads + h) * d, a.half, d);
    return;
  }
  h -= a.heads;
  if (h < a.kv.kv_heads) {
    const float* k = head(a.k + t * a.k_stride + h * d, a.k_norm);
    if constexpr (kScaledKv<KV>) {
      float rotated[kMaxHeadDim];
      rotate_head(k, table, rotated, a.half, d);
      write_entry<KV>(a.kv, slot, index, h, false, rotated);
    } else {
      rotate_head(k, table, kv_row<KV>(a.kv, slot, index, h, false), a.half, d);
    }
    return;
  }
  h -= a.kv.kv_heads;
  if (h < a.kv.kv_heads) write_entry<KV>(a.kv, slot, index, h, true, a.v + t * a.v_stride + h * d);
}
