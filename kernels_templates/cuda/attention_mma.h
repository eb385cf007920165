// Paged attention for many query tokens on tensor cores, in the form of FlashAttention-2 (Dao, 2023): sm_80 and later,
// operands and cache of one 16-bit type. q and the weights p are rounded to that type; sums and softmax are fp32. See
// AttentionArgs.
#pragma once

#include "cuda/attention_prefill.h"
#include "cuda/tensor_core.h"

// Four warps of 16 query tokens of one head; 64 cache entries at a time. Keys of the next tile load while this one's
// values are used, and values while the scores are computed. A tile of rows may span sequences: each in turn, the rows
// of the others masked. Tile: x = head, y = 64 tokens. 128 threads; 128 * (2 * HeadDim + 16) bytes of shared memory.
template <typename A, typename KV, int HeadDim>
KERNEL_FN void attention_mma(const AttentionArgs& args, Tile tile, char* shared) {
  constexpr int kThreads = 128, kQueries = 64, kEntries = 64;
  constexpr int kRowBytes = HeadDim * 2 + 16;  // rows of an ldmatrix phase in different banks
  constexpr int kSteps = HeadDim / 16;         // products along the head dimension
  constexpr int kScoreTiles = kEntries / 8, kOutTiles = HeadDim / 8;
  constexpr int kChunks = HeadDim / 8;  // 16-byte chunks of an entry
  static_assert(HeadDim % 16 == 0, "whole fragments");
  const int tokens = args.counts->rows[kRowsTokens];
  const int row0 = static_cast<int>(tile.y) * kQueries;
  const i64 head = tile.x;
  if (row0 >= tokens || head >= args.heads) return;
  const int row_end = min_of(row0 + kQueries, tokens);
  const int thread = threadIdx.x, warp = thread / kWarp, lane = thread % kWarp;
  const int g = lane / 4, t = lane % 4;
  const u32 keys = shared_address(shared), values = keys + kEntries * kRowBytes;

  // This lane's two rows: g and g + 8 of the warp's sixteen.
  const int row_low = row0 + warp * 16 + g, row_high = row_low + 8;
  const float scale = static_cast<float>(args.scale) * kLog2E;
  u32 q[kSteps][4];
#pragma unroll
  for (int s = 0; s < kSteps; ++s) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int row = j % 2 ? row_high : row_low;
      float2 v = make_float2(0.0f, 0.0f);
      if (row < row_end) {
        v = *reinterpret_cast<const float2*>(args.q + (row * args.heads + head) * HeadDim + s * 16 + j / 2 * 8 + t * 2);
      }
      q[s][j] = pack2<KV>(v.x, v.y);
    }
  }

  float out[kOutTiles][4] = {};
  float maximum[2] = {-kInfinity, -kInfinity}, sum[2] = {};

  int segment = row0;
  while (segment < row_end) {
    const int sequence = args.token_seq[segment];
    const int segment_end = min_of(row_end, args.query_start[sequence + 1]);
    const KvRows<KV> rows(args.kv, args.seq_slot[sequence], head / (args.heads / args.kv.kv_heads));
    const EntryRange range = entry_range(args, segment, segment_end);
    const int window = args.window > 0 ? static_cast<int>(min_of(args.window, 0x7fffffffll)) : 0x7fffffff;
    const int last[2] = {row_low >= segment && row_low < segment_end ? args.kv_index[row_low] : -1,
                         row_high >= segment && row_high < segment_end ? args.kv_index[row_high] : -1};

    const auto load = [&](u32 destination, int base, i64 offset) {
#pragma unroll 2
      for (int i = thread; i < kEntries * kChunks; i += kThreads) {
        const int e = i / kChunks, c = i % kChunks;
        const bool valid = base + e < range.end;
        const KV* row = rows.key(valid ? base + e : range.begin) + offset;
        copy_async16(destination + e * kRowBytes + c * 16, row + c * 8, valid);
      }
      copy_async_commit();
    };

    __syncthreads();  // the last segment's tiles are used
    load(keys, range.begin, 0);
    for (int base = range.begin; base < range.end; base += kEntries) {
      load(values, base, rows.value_offset);
      copy_async_wait<1>();
      __syncthreads();  // the keys are here
      float score[kScoreTiles][4] = {};
#pragma unroll
      for (int s = 0; s < kSteps; ++s) {
#pragma unroll
        for (int n = 0; n < kScoreTiles; n += 2) {
          // Matrices: (entries 0-7, d 0-7), (0-7, 8-15), (8-15, 0-7), (8-15, 8-15).
          u32 b[4];
          ldmatrix_x4(b, keys + (n * 8 + lane / 16 * 8 + lane % 8) * kRowBytes + s * 32 + lane / 8 % 2 * 16);
          mma_16816<KV>(score[n], q[s][0], q[s][1], q[s][2], q[s][3], b[0], b[1]);
          mma_16816<KV>(score[n + 1], q[s][0], q[s][1], q[s][2], q[s][3], b[2], b[3]);
        }
      }
      __syncthreads();  // the keys are used
      if (base + kEntries < range.end) {
        load(keys, base + kEntries, 0);
      } else {
        copy_async_commit();  // so that the wait below always leaves one group
      }

#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float top = maximum[h];
#pragma unroll
        for (int n = 0; n < kScoreTiles; ++n) {
#pragma unroll
          for (int j = 0; j < 2; ++j) {
            const int entry = base + n * 8 + t * 2 + j;
            float& s = score[n][h * 2 + j];
            s = entry > last[h] || entry <= last[h] - window ? -kInfinity : s * scale;
            top = fmaxf(top, s);
          }
        }
        top = warp_max<4>(top);  // a row lies in four lanes
        const float reference = top == -kInfinity ? 0.0f : top;
        const float rescale = exp2_fast(maximum[h] - reference);
        maximum[h] = top;
        float part = 0.0f;
#pragma unroll
        for (int n = 0; n < kScoreTiles; ++n) {
#pragma unroll
          for (int j = 0; j < 2; ++j) {
            float& s = score[n][h * 2 + j];
            s = exp2_fast(s - reference);
            part += s;
          }
        }
        sum[h] = sum[h] * rescale + part;  // this lane's share; the four are added at the end
#pragma unroll
        for (int n = 0; n < kOutTiles; ++n) {
          out[n][h * 2] *= rescale;
          out[n][h * 2 + 1] *= rescale;
        }
      }

      copy_async_wait<1>();
      __syncthreads();  // the values are here
#pragma unroll
      for (int s = 0; s < kEntries / 16; ++s) {
        // The scores of two neighbouring tiles are, as they lie, the A fragment of the next product.
        const u32 p[4] = {pack2<KV>(score[2 * s][0], score[2 * s][1]), pack2<KV>(score[2 * s][2], score[2 * s][3]),
                          pack2<KV>(score[2 * s + 1][0], score[2 * s + 1][1]),
                          pack2<KV>(score[2 * s + 1][2], score[2 * s + 1][3])};
#pragma unroll
        for (int n = 0; n < kOutTiles; n += 2) {
          // Transposed on the way: (entries 0-7, d 0-7), (8-15, 0-7), (0-7, d 8-15), (8-15, 8-15).
          u32 b[4];
          ldmatrix_x4_transposed(b, values + (s * 16 + lane % 16) * kRowBytes + n * 16 + lane / 16 * 16);
          mma_16816<KV>(out[n], p[0], p[1], p[2], p[3], b[0], b[1]);
          mma_16816<KV>(out[n + 1], p[0], p[1], p[2], p[3], b[2], b[3]);
        }
      }
      __syncthreads();  // the values are used
    }
    copy_async_wait<0>();
    segment = segment_end;
  }

#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const float total = warp_sum<4>(sum[h]);
    const int row = h ? row_high : row_low;
    if (row >= row_end) continue;
    A* destination = static_cast<A*>(args.out) + (row * args.heads + head) * HeadDim;
#pragma unroll
    for (int n = 0; n < kOutTiles; ++n) {
      *reinterpret_cast<u32*>(destination + n * 8 + t * 2) = pack2<A>(out[n][h * 2] / total, out[n][h * 2 + 1] / total);
    }
  }
}
