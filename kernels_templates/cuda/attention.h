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
// scores in units of log2. 4 bytes of shared memory.
template <typename A, int HeadDim>
KERNEL_FN void merge_splits(const AttentionArgs& args, i64 token, i64 head0, int heads, int splits, char* shared) {
  constexpr int kThreads = 128, kStride = HeadDim + 2, kDims = 4, kAhead = 8;
  static_assert(HeadDim % kDims == 0, "a thread has dims of one head");
  u32* last = reinterpret_cast<u32*>(shared);
  body_sync(kThreads);
  if (threadIdx.x == 0) {
    u32* arrivals = args.arrivals + token * args.heads + head0;
    *last = count_arrival(arrivals) == static_cast<u32>(splits - 1);
    if (*last) *arrivals = 0;
  }
  body_sync(kThreads);
  if (!*last) return;
  const i64 head_stride = args.splits * kStride;
  const float* partial = args.workspace + (token * args.heads + head0) * head_stride;
  A* out = static_cast<A*>(args.out) + (token * args.heads + head0) * HeadDim;
  for (int i = threadIdx.x * kDims; i < heads * HeadDim; i += kThreads * kDims) {
    const float* row = partial + i / HeadDim * head_stride;
    const auto load = [&](int split, int at) { return *reinterpret_cast<const float2*>(row + split * kStride + at); };
    float top = -kInfinity, total = 0.0f, sum[kDims] = {};
    for (int first = 0; first < splits; first += kAhead) {
      float2 state[kAhead], value[kAhead][kDims / 2];  // state: maximum and sum of a split; all on their way at once
#pragma unroll
      for (int s = 0; s < kAhead; ++s) {
        const bool exists = first + s < splits;
        state[s] = exists ? load(first + s, HeadDim) : make_float2(-kInfinity, 0.0f);
#pragma unroll
        for (int d = 0; d < kDims / 2; ++d) value[s][d] = exists ? load(first + s, i % HeadDim + d * 2) : make_float2(0.0f, 0.0f);
      }
      float new_top = top;
#pragma unroll
      for (int s = 0; s < kAhead; ++s) new_top = fmaxf(new_top, state[s].x);
      const float rescale = exp2_fast(top - new_top);  // every split has an entry: finite
      top = new_top;
      total *= rescale;
#pragma unroll
      for (int d = 0; d < kDims; ++d) sum[d] *= rescale;
#pragma unroll
      for (int s = 0; s < kAhead; ++s) {
        const float share = exp2_fast(state[s].x - top);
        total = fmaf(share, state[s].y, total);
#pragma unroll
        for (int d = 0; d < kDims / 2; ++d) {
          sum[d * 2] = fmaf(share, value[s][d].x, sum[d * 2]);
          sum[d * 2 + 1] = fmaf(share, value[s][d].y, sum[d * 2 + 1]);
        }
      }
    }
#pragma unroll
    for (int d = 0; d < kDims; ++d) out[i + d] = from_float<A>(sum[d] / total);
  }
}
