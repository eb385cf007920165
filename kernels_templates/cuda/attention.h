// Paged attention: what all its kernels share, the reference, and the merge of split results. See AttentionArgs.
#pragma once

#include "cuda/types.h"

// K and V rows of one sequence and one kv head.
template <typename KV>
struct KvRows {
  const char* base;
  const i32* table;  // block table of the sequence
  i64 block_bytes;
  i64 head_offset;   // values from the start of a block to the head's K
  i64 value_offset;  // values from K to V
  u32 block_tokens;
  u32 head_dim;
  u32 reciprocal;  // 2^32 / block_tokens, rounded up; 0 for 1

  KERNEL_FN KvRows(const KvView& kv, i64 slot, i64 head)
      : base(static_cast<const char*>(kv.base)),
        table(kv.block_table + slot * kv.table_stride),
        block_bytes(kv.block_bytes),
        head_offset(head * kv.block_tokens * kv.head_dim),
        value_offset(kv.kv_heads * kv.block_tokens * kv.head_dim),
        block_tokens(static_cast<u32>(kv.block_tokens)),
        head_dim(static_cast<u32>(kv.head_dim)),
        reciprocal(0xffffffffu / block_tokens + 1) {}

  KERNEL_FN const KV* key(int entry) const { return key_in(block_of(entry), row_of(entry)); }
  KERNEL_FN i32 block_of(int entry) const { return __ldg(table + index_of(entry)); }
  KERNEL_FN u32 row_of(int entry) const { return static_cast<u32>(entry) - index_of(entry) * block_tokens; }
  KERNEL_FN const KV* key_in(i32 block, u32 row) const {
    return reinterpret_cast<const KV*>(base + block * block_bytes) + head_offset + row * head_dim;
  }

  // entry / block_tokens, exact while entry * block_tokens < 2^32: no branch, and no division in the loops.
  KERNEL_FN u32 index_of(int entry) const {
    return __umulhi(static_cast<u32>(entry), reciprocal) + (reciprocal ? 0 : static_cast<u32>(entry));
  }
};

// Reference: one block a (token, head); 128 entries at a time, one a thread. Any head_dim up to 512 that is a multiple
// of 8. Tile: x = query head, y = token. 128 threads; 4 * (512 + 128 + 4) bytes of shared memory.
template <typename A, typename KV>
KERNEL_FN void attention_naive(const AttentionArgs& args, Tile tile, char* shared) {
  constexpr int kThreads = 128, kMaxHeadDim = 512;
  const i64 token = tile.y, head = tile.x;
  if (token >= args.counts->rows[kRowsTokens] || head >= args.heads) return;
  const int head_dim = static_cast<int>(args.kv.head_dim);
  float* q = reinterpret_cast<float*>(shared);  // [head_dim]
  float* p = q + kMaxHeadDim;                   // [128]
  float* scratch = p + kThreads;                // [4]
  const int thread = threadIdx.x;
  for (int i = thread; i < head_dim; i += kThreads) q[i] = args.q[(token * args.heads + head) * head_dim + i];

  const KvRows<KV> rows(args.kv, args.seq_slot[args.token_seq[token]], head / (args.heads / args.kv.kv_heads));
  const int end = args.kv_index[token] + 1;
  const int begin = args.window > 0 ? static_cast<int>(max_of(0ll, end - args.window)) : 0;
  float maximum = -kInfinity, sum = 0.0f;
  float out[kMaxHeadDim / kThreads] = {};
  for (int start = begin; start < end; start += kThreads) {
    __syncthreads();  // q is written, and the last round's p is read
    const int entry = start + thread;
    float score = -kInfinity;
    if (entry < end) {
      const KV* key = rows.key(entry);
      score = 0.0f;
      for (int i = 0; i < head_dim; ++i) score = fmaf(q[i], to_float(key[i]), score);
      score *= static_cast<float>(args.scale);
    }
    const float new_maximum = fmaxf(maximum, block_reduce<kThreads>(score, scratch, MaxOf{}));
    p[thread] = entry < end ? expf(score - new_maximum) : 0.0f;
    const float rescale = expf(maximum - new_maximum);
    sum = sum * rescale + block_reduce<kThreads>(p[thread], scratch, SumOf{});
    maximum = new_maximum;
    const int count = min_of(kThreads, end - start);
#pragma unroll
    for (int j = 0; j < kMaxHeadDim / kThreads; ++j) {
      const int i = thread + j * kThreads;
      if (i >= head_dim) break;
      out[j] *= rescale;
      for (int e = 0; e < count; ++e) {
        out[j] = fmaf(p[e], to_float(rows.key(start + e)[rows.value_offset + i]), out[j]);
      }
    }
  }
  A* destination = static_cast<A*>(args.out) + (token * args.heads + head) * head_dim;
#pragma unroll
  for (int j = 0; j < kMaxHeadDim / kThreads; ++j) {
    const int i = thread + j * kThreads;
    if (i < head_dim) destination[i] = from_float<A>(out[j] / sum);
  }
}

// One split of the entries begin .. end - 1 that a token attends to. `count` splits have entries: fewer than `most`, which is at most
// args.splits, on short contexts, where another split would cost more to merge than it saves. Depends on the length alone.
struct KvSplit {
  static constexpr int kRun = 16;
  int all_begin, begin, end, count;

  KERNEL_FN KvSplit(const AttentionArgs& args, int kv_index, u32 z, int most, int min_entries = 128) {
    const int all_end = kv_index + 1;
    all_begin = args.window > 0 ? static_cast<int>(max_of(0ll, all_end - args.window)) : 0;
    const int first = all_begin & ~(kRun - 1),
              length = all_end - first;  // boundaries at runs: whole pages in most layouts
    const int wanted = min_of(most, (length + min_entries - 1) / min_entries);
    const int size = ((length + wanted - 1) / wanted + kRun - 1) & ~(kRun - 1);
    count = (length + size - 1) / size;
    begin = max_of(all_begin, first + static_cast<int>(z) * size);
    end = min_of(all_end, first + static_cast<int>(z + 1) * size);
  }
};

// Called by all of a block's 128 threads when this split's partial results of heads head0 .. head0 + heads - 1 (16 at
// most) are written: the last of the `splits` of the token to get here merges them all, in split order. Maxima are of
// scores in units of log2. 4 * (1 + 16 * 32) bytes of shared memory.
template <typename A, int HeadDim>
KERNEL_FN void merge_splits(const AttentionArgs& args, i64 token, i64 head0, int heads, int splits, char* shared) {
  constexpr int kWarps = 4, kMaxSplits = 32, kStride = HeadDim + 2;
  u32* last = reinterpret_cast<u32*>(shared);
  float* weight = reinterpret_cast<float*>(shared) + 1;  // [heads, 32]
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  __threadfence();  // the partial results are seen before the arrival
  body_sync(kWarps * kWarp);
  if (threadIdx.x == 0) {
    u32* arrivals = args.arrivals + token * args.heads + head0;
    *last = atomicAdd(arrivals, 1u) == static_cast<u32>(splits - 1);
    if (*last) *arrivals = 0;
  }
  body_sync(kWarps * kWarp);
  if (!*last) return;
  __threadfence();
  const i64 head_stride = args.splits * kStride;
  const float* partial = args.workspace + (token * args.heads + head0) * head_stride;
  for (int h = warp; h < heads; h += kWarps) {
    const float* row = partial + h * head_stride + lane * kStride;
    const bool exists = lane < splits;
    const float maximum = exists ? row[HeadDim] : -kInfinity;
    const float total = exists ? row[HeadDim + 1] : 0.0f;
    const float top = warp_max(maximum);
    const float share = exp2_fast(maximum - top);  // 0 for a split without entries
    const float sum = warp_sum(share == 0.0f ? 0.0f : share * total);
    weight[h * kMaxSplits + lane] = share / sum;
  }
  body_sync(kWarps * kWarp);
  A* out = static_cast<A*>(args.out) + (token * args.heads + head0) * HeadDim;
  for (int i = threadIdx.x * 2; i < heads * HeadDim; i += kWarps * kWarp * 2) {
    const int h = i / HeadDim;
    const float* row = partial + h * head_stride + i % HeadDim;
    float low = 0.0f, high = 0.0f;
#pragma unroll 16
    for (int s = 0; s < splits; ++s) {
      const float2 v = *reinterpret_cast<const float2*>(row + s * kStride);
      low = fmaf(weight[h * kMaxSplits + s], v.x, low);
      high = fmaf(weight[h * kMaxSplits + s], v.y, high);
    }
    out[i] = from_float<A>(low);
    out[i + 1] = from_float<A>(high);
  }
}
