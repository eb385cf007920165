// Rotary embedding: the table of the step's positions, the rotation fused with the paged KV write, and the two apart.
// See RopeTableArgs, RopeKvWriteArgs, RopeArgs, KvWriteArgs.
#pragma once

#include "cuda/types.h"

constexpr int kHeadsPerBlock = 4;  // one warp each

// The angle is rounded to fp32 as transformers does; sincosf is accurate for every fp32 angle. Tile: y = token. 128
// threads.
KERNEL_FN void rope_table(const RopeTableArgs& args, Tile tile, char*) {
  const i64 row = tile.y;
  if (row >= args.counts->rows[kRowsTokens]) return;
  const float position = static_cast<float>(args.positions[row]);
  const float factor = static_cast<float>(args.factor);
  float* table = args.table + row * 2 * args.half;
  for (i64 j = threadIdx.x; j < args.half; j += kHeadsPerBlock * kWarp) {
    float sine, cosine;
    sincosf(__fmul_rn(position, args.inv_freq[j]), &sine, &cosine);
    table[j] = cosine * factor;
    table[args.half + j] = sine * factor;
  }
}

// One warp rotates one head: out(i) = read(i) rotated by the row's table [2, half].
template <typename Out, typename Read>
KERNEL_FN void rotate_head(Out* out, i64 head_dim, i64 half, const float* table, Read read) {
  const int lane = threadIdx.x % kWarp;
  for (i64 j = lane; j < half; j += kWarp) {
    const float a = read(j), b = read(j + half);
    const float cosine = table[j], sine = table[half + j];
    out[j] = from_float<Out>(a * cosine - b * sine);
    out[j + half] = from_float<Out>(b * cosine + a * sine);
  }
  for (i64 i = 2 * half + lane; i < head_dim; i += kWarp) out[i] = from_float<Out>(read(i));
}

// The same with the per-head norm before it, when `norm` is not null.
template <typename W, typename Out>
KERNEL_FN void normalize_and_rotate(const float* x, Out* out, i64 head_dim, i64 half, const float* table,
                                    const void* norm, double eps) {
  if (!norm) return rotate_head(out, head_dim, half, table, [&](i64 i) { return x[i]; });
  float squares = 0.0f;
  for (i64 i = threadIdx.x % kWarp; i < head_dim; i += kWarp) squares = fmaf(x[i], x[i], squares);
  const float scale = inverse_rms(warp_sum(squares), head_dim, eps);
  const W* weight = static_cast<const W*>(norm);
  rotate_head(out, head_dim, half, table, [&](i64 i) { return x[i] * scale * to_float(weight[i]); });
}

template <typename KV>
KERNEL_FN void copy_head(const float* x, KV* out, i64 head_dim) {
  for (i64 i = threadIdx.x % kWarp; i < head_dim; i += kWarp) out[i] = from_float<KV>(x[i]);
}

// Tile: x = 4 of the heads of q, then k, then v; y = token. 128 threads.
template <typename W, typename KV>
KERNEL_FN void rope_kv_write(const RopeKvWriteArgs& args, Tile tile, char*) {
  const i64 row = tile.y;
  const i64 kv_heads = args.kv.kv_heads, head_dim = args.kv.head_dim;
  i64 head = static_cast<i64>(tile.x) * kHeadsPerBlock + threadIdx.x / kWarp;
  if (row >= args.counts->rows[kRowsTokens] || head >= args.heads + 2 * kv_heads) return;
  const float* table = args.table + row * 2 * args.half;
  if (head < args.heads) {
    return normalize_and_rotate<W>(args.q + row * args.q_stride + head * head_dim,
                                   args.q_out + (row * args.heads + head) * head_dim, head_dim, args.half, table,
                                   args.q_norm, args.eps);
  }
  head -= args.heads;
  const i32* blocks = args.kv.block_table + args.seq_slot[args.token_seq[row]] * args.kv.table_stride;
  if (head < kv_heads) {
    KV* key = kv_entry<KV>(args.kv, blocks, args.kv_index[row], head, false);
    return normalize_and_rotate<W>(args.k + row * args.k_stride + head * head_dim, key, head_dim, args.half, table,
                                   args.k_norm, args.eps);
  }
  head -= kv_heads;
  copy_head(args.v + row * args.v_stride + head * head_dim,
            kv_entry<KV>(args.kv, blocks, args.kv_index[row], head, true), head_dim);
}

// Tile: x = 4 heads, y = token. 128 threads.
KERNEL_FN void rope(const RopeArgs& args, Tile tile, char*) {
  const i64 row = tile.y;
  const i64 head = static_cast<i64>(tile.x) * kHeadsPerBlock + threadIdx.x / kWarp;
  if (row >= args.counts->rows[kRowsTokens] || head >= args.heads) return;
  const float* x = args.x + row * args.x_stride + head * args.head_dim;
  rotate_head(args.out + (row * args.heads + head) * args.head_dim, args.head_dim, args.half,
              args.table + row * 2 * args.half, [&](i64 i) { return x[i]; });
}

// Tile: x = 4 kv heads, y = token. 128 threads.
template <typename KV>
KERNEL_FN void kv_write(const KvWriteArgs& args, Tile tile, char*) {
  const i64 row = tile.y;
  const i64 head = static_cast<i64>(tile.x) * kHeadsPerBlock + threadIdx.x / kWarp;
  if (row >= args.counts->rows[kRowsTokens] || head >= args.kv.kv_heads) return;
  const i32* blocks = args.kv.block_table + args.seq_slot[args.token_seq[row]] * args.kv.table_stride;
  const i64 head_dim = args.kv.head_dim;
  copy_head(args.k + row * args.k_stride + head * head_dim,
            kv_entry<KV>(args.kv, blocks, args.kv_index[row], head, false), head_dim);
  copy_head(args.v + row * args.v_stride + head * head_dim,
            kv_entry<KV>(args.kv, blocks, args.kv_index[row], head, true), head_dim);
}
