// Paged attention for many query tokens in fp32 FMA: tiles of queries against tiles of the cache. See AttentionArgs.
#pragma once

#include "cuda/attention.h"

// The entries that rows row0 .. row_end-1 (of one sequence) attend to, the union over the rows.
struct EntryRange {
  int begin, end;
};
KERNEL_FN EntryRange entry_range(const AttentionArgs& args, int row0, int row_end) {
  int lowest = 0x7fffffff, highest = -1;
  for (int row = row0 + static_cast<int>(threadIdx.x % kWarp); row < row_end; row += kWarp) {
    const int index = args.kv_index[row];
    lowest = min_of(lowest, index);
    highest = max_of(highest, index);
  }
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    lowest = min_of(lowest, __shfl_xor_sync(kAllLanes, lowest, offset));
    highest = max_of(highest, __shfl_xor_sync(kAllLanes, highest, offset));
  }
  const int begin = args.window > 0 ? static_cast<int>(max_of(0ll, lowest + 1 - args.window)) : 0;
  return {begin, highest + 1};
}

// A block of 8 x 16 threads serves Queries tokens of one head, Entries cache entries at a time; thread (y, x) owns
// Queries / 8 rows of scores and of the output. A tile of rows may span sequences: each in turn, the rows of the others
// masked. Tile: x = head, y = Queries tokens. 128 threads; 4 * ((Queries + Entries) * (HeadDim + 4) + Queries *
// (Entries + 4)) bytes of shared memory.
template <typename A, typename KV, int HeadDim, int Queries, int Entries>
KERNEL_FN void attention_prefill(const AttentionArgs& args, Tile tile, char* shared) {
  constexpr int kThreads = 128;
  constexpr int kRows = Queries / 8, kColumns = Entries / 16;
  constexpr int kStride = HeadDim + 4, kStrideP = Entries + 4;  // rows of 16-byte vectors, spread over the banks
  constexpr int kVectors = (HeadDim / 4 + 15) / 16;             // float4 columns of the output a thread owns
  static_assert(HeadDim % 8 == 0 && Queries % 8 == 0 && Entries % 16 == 0, "tile shape");
  const int tokens = args.counts->rows[kRowsTokens];
  const int row0 = static_cast<int>(tile.y) * Queries;
  const i64 head = tile.x;
  if (row0 >= tokens || head >= args.heads) return;
  const int row_end = min_of(row0 + Queries, tokens);
  const int thread = threadIdx.x, ty = thread / 16, tx = thread % 16;
  float* q = reinterpret_cast<float*>(shared);  // [Queries, kStride]
  float* kv = q + Queries * kStride;            // [Entries, kStride]: keys, then values
  float* p = kv + Entries * kStride;            // [Queries, kStrideP]

  const float scale = static_cast<float>(args.scale) * kLog2E;
  for (int i = thread; i < Queries * (HeadDim / 4); i += kThreads) {
    const int r = i / (HeadDim / 4), d = i % (HeadDim / 4) * 4;
    float4 v = make_float4(0, 0, 0, 0);
    if (row0 + r < row_end) {
      v = *reinterpret_cast<const float4*>(args.q + ((row0 + r) * args.heads + head) * HeadDim + d);
    }
    *reinterpret_cast<float4*>(q + r * kStride + d) = make_float4(v.x * scale, v.y * scale, v.z * scale, v.w * scale);
  }

  float maximum[kRows], sum[kRows], out[kRows][kVectors][4];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    maximum[r] = -kInfinity;
    sum[r] = 0.0f;
#pragma unroll
    for (int c = 0; c < kVectors; ++c) out[r][c][0] = out[r][c][1] = out[r][c][2] = out[r][c][3] = 0.0f;
  }

  int segment = row0;
  while (segment < row_end) {
    const int sequence = args.token_seq[segment];
    const int segment_end = min_of(row_end, args.query_start[sequence + 1]);
    const KvRows<KV> rows(args.kv, args.seq_slot[sequence], head / (args.heads / args.kv.kv_heads));
    const EntryRange range = entry_range(args, segment, segment_end);
    int last[kRows];  // highest entry that the row attends to, -1: none
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int row = row0 + ty * kRows + r;
      last[r] = row >= segment && row < segment_end ? args.kv_index[row] : -1;
    }
    const int window = args.window > 0 ? static_cast<int>(min_of(args.window, 0x7fffffffll)) : 0x7fffffff;

    const auto load = [&](int base, i64 offset) {
      for (int i = thread; i < Entries * (HeadDim / 8); i += kThreads) {
        const int e = i / (HeadDim / 8), d = i % (HeadDim / 8) * 8;
        float v[8] = {};
        if (base + e < range.end) unpack8(load8(rows.key(base + e) + offset + d), v);
        store8(kv + e * kStride + d, v);
      }
    };
    for (int base = range.begin; base < range.end; base += Entries) {
      __syncthreads();  // the values of the last tile are used; in the first round, q is written
      load(base, 0);
      __syncthreads();
      float score[kRows][kColumns] = {};
#pragma unroll 4
      for (int d = 0; d < HeadDim; d += 4) {
        float4 a[kRows], b[kColumns];
#pragma unroll
        for (int r = 0; r < kRows; ++r) a[r] = *reinterpret_cast<const float4*>(q + (ty * kRows + r) * kStride + d);
#pragma unroll
        for (int c = 0; c < kColumns; ++c) b[c] = *reinterpret_cast<const float4*>(kv + (tx + 16 * c) * kStride + d);
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
#pragma unroll
          for (int c = 0; c < kColumns; ++c) {
            score[r][c] = fmaf(a[r].x, b[c].x, score[r][c]);
            score[r][c] = fmaf(a[r].y, b[c].y, score[r][c]);
            score[r][c] = fmaf(a[r].z, b[c].z, score[r][c]);
            score[r][c] = fmaf(a[r].w, b[c].w, score[r][c]);
          }
        }
      }
      __syncthreads();  // the keys are used
      load(base, rows.value_offset);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        float top = -kInfinity;
#pragma unroll
        for (int c = 0; c < kColumns; ++c) {
          const int entry = base + tx + 16 * c;
          if (entry > last[r] || entry <= last[r] - window) score[r][c] = -kInfinity;
          top = fmaxf(top, score[r][c]);
        }
        top = fmaxf(maximum[r], warp_max<16>(top));
        const float reference = top == -kInfinity ? 0.0f : top;
        const float rescale = exp2_fast(maximum[r] - reference);
        maximum[r] = top;
        float part = 0.0f;
#pragma unroll
        for (int c = 0; c < kColumns; ++c) {
          const float e = exp2_fast(score[r][c] - reference);
          p[(ty * kRows + r) * kStrideP + tx + 16 * c] = e;
          part += e;
        }
        sum[r] = sum[r] * rescale + warp_sum<16>(part);
#pragma unroll
        for (int c = 0; c < kVectors; ++c) {
#pragma unroll
          for (int j = 0; j < 4; ++j) out[r][c][j] *= rescale;
        }
      }
      __syncthreads();  // values and p are written
#pragma unroll 1
      for (int e = 0; e < Entries; e += 4) {
        float4 weight[kRows];
#pragma unroll
        for (int r = 0; r < kRows; ++r) {
          weight[r] = *reinterpret_cast<const float4*>(p + (ty * kRows + r) * kStrideP + e);
        }
#pragma unroll
        for (int c = 0; c < kVectors; ++c) {
          const int d = (tx + 16 * c) * 4;
          if (d >= HeadDim) break;
#pragma unroll
          for (int step = 0; step < 4; ++step) {
            const float4 v = *reinterpret_cast<const float4*>(kv + (e + step) * kStride + d);
#pragma unroll
            for (int r = 0; r < kRows; ++r) {
              const float w = step == 0 ? weight[r].x : step == 1 ? weight[r].y : step == 2 ? weight[r].z : weight[r].w;
              out[r][c][0] = fmaf(w, v.x, out[r][c][0]);
              out[r][c][1] = fmaf(w, v.y, out[r][c][1]);
              out[r][c][2] = fmaf(w, v.z, out[r][c][2]);
              out[r][c][3] = fmaf(w, v.w, out[r][c][3]);
            }
          }
        }
      }
    }
    segment = segment_end;
  }

#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const int row = row0 + ty * kRows + r;
    if (row >= row_end) break;
    A* destination = static_cast<A*>(args.out) + (row * args.heads + head) * HeadDim;
#pragma unroll
    for (int c = 0; c < kVectors; ++c) {
      const int d = (tx + 16 * c) * 4;
      if (d >= HeadDim) break;
#pragma unroll
      for (int j = 0; j < 4; ++j) destination[d + j] = from_float<A>(out[r][c][j] / sum[r]);
    }
  }
}
