// What follows the sums of linear_quantized_wgmma.h: a block leaves them in shared memory, the blocks of a cluster add
// them up, each for its share of the tokens, and half a warp finishes 16 rows of the weight for a token
// (linear_epilogue.h).
#pragma once

#include "cuda/linear_epilogue.h"
#include "cuda/wgmma.h"

constexpr int kQuantizedConsumers = 256;  // threads, behind the first warpgroup

// What stands in shared memory beside the sums: row scales of the tokens, the terms they are summed up from, places in
// the KV cache.
template <int N>
constexpr int kQuantizedFinishBytes = N * 4 + kQuantizedConsumers * 4 + N * static_cast<int>(sizeof(KvPlace));

template <int Units, int N, int Splits, Epilogue Kind, typename Args>
struct QuantizedFinish {
  static constexpr int kTokens = N / Splits;  // of this block
  // [token, row], rows of 4 floats more: the four lanes that hold two tokens each write to different banks.
  static constexpr int kStride = 16 * Units + 4, kPartialBytes = N * kStride * 4;
  static_assert(kTokens * 2 <= kQuantizedConsumers, "two threads a token");

  const Args& all;
  i64 first_unit, row0, rows;  // rows from row0 on
  int first_token;             // of these
  float* scale;                // [N]
  float* terms;                // [slices, kTokens]
  KvPlace* place;              // [N]

  KERNEL_FN QuantizedFinish(const Args& all, u32 tile, u32 rank, i64 row0, char* shared)
      : all(all),
        first_unit(static_cast<i64>(tile) * Units),
        row0(row0),
        rows(linear_of(all).counts->rows[linear_of(all).row_count] - row0),
        first_token(static_cast<int>(rank) * kTokens),
        scale(reinterpret_cast<float*>(shared)),
        terms(scale + N),
        place(reinterpret_cast<KvPlace*>(terms + kQuantizedConsumers)) {}

  // Row scales and places, while the first weights are on their way.
  KERNEL_FN void prepare() const {
    const FusedLinearArgs& args = linear_of(all);
    const int thread = static_cast<int>(threadIdx.x) - (static_cast<int>(blockDim.x) - kQuantizedConsumers);
    if constexpr (Kind == Epilogue::kRope) {
      const int token = first_token + thread - kQuantizedConsumers / 2;
      if (thread >= kQuantizedConsumers / 2 && token < first_token + kTokens && token < rows)
        place[token] = KvPlace::of(all.rope.kv, all.rope, row0 + token);
    }
    constexpr int kSlices = kQuantizedConsumers / kTokens, kAhead = 16;
    const int slice = thread / kTokens, token = first_token + thread % kTokens;
    float sum = 0.0f;
    for (i64 part = slice; args.squares && part < args.square_parts; part += kSlices * kAhead) {
      float v[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const i64 at = part + i * kSlices;
        v[i] = token < rows && at < args.square_parts ? args.squares[at * args.square_stride + row0 + token] : 0.0f;
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) sum += v[i];
    }
    terms[thread] = sum;
    named_barrier_sync(1, kQuantizedConsumers);
    if (thread >= kTokens) return;
#pragma unroll 8
    for (int s = 1; s < kSlices; ++s) sum += terms[s * kTokens + thread];
    scale[token] = args.squares ? 1.0f / sqrtf(sum / static_cast<float>(args.k) + static_cast<float>(args.eps)) : 1.0f;
  }

  // The sums of a warp for its 16 rows: unit `unit` of the block.
  KERNEL_FN static void leave(char* shared, const float (&sum)[N / 2], int unit) {
    const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
    float* partial = reinterpret_cast<float*>(shared) + 2 * t * kStride + unit * 16 + g;
#pragma unroll
    for (int i = 0; i < N / 2; ++i) partial[(i / 4 * 8 + i % 2) * kStride + i / 2 % 2 * 8] = sum[i];
  }

  // The sums of all blocks of the cluster to memory, in the order of K.
  template <typename A, typename KV>
  KERNEL_FN void store(const char* shared) const {
    constexpr int kHalfWarps = kQuantizedConsumers / 16, kJobs = kTokens * Units / kHalfWarps,
                  kBatch = kJobs < 8 ? kJobs : 8;
    static_assert(kTokens * Units % kHalfWarps == 0 && kJobs % kBatch == 0, "whole batches");
    const int half_warp =
                  static_cast<int>(threadIdx.x) / 16 - (static_cast<int>(blockDim.x) - kQuantizedConsumers) / 16,
              lane = threadIdx.x % 16;
    u32 partial[Splits];
#pragma unroll
    for (int s = 0; s < Splits; ++s) partial[s] = Splits > 1 ? cluster_address(shared_address(shared), s) : 0;
#pragma unroll 1
    for (int first = half_warp; first < kJobs * kHalfWarps; first += kBatch * kHalfWarps) {
      UnitInputs<A> in[kBatch];
      float total[kBatch];
      const auto token_of = [&](int j) { return first_token + (first + j * kHalfWarps) / Units; };
      const auto unit_of = [&](int j) { return (first + j * kHalfWarps) % Units; };
      const auto exists = [&](int j) {
        return token_of(j) < rows && column_exists<Kind>(linear_of(all), unit_column<Kind>(first_unit + unit_of(j), 0));
      };
#pragma unroll
      for (int j = 0; j < kBatch; ++j)
        in[j] = load_unit<A, Kind>(epilogue_of(all), row0 + token_of(j), first_unit + unit_of(j), exists(j), lane);
#pragma unroll
      for (int j = 0; j < kBatch; ++j) {
        const int at = (token_of(j) * kStride + unit_of(j) * 16 + lane) * 4;
        if constexpr (Splits == 1) {
          total[j] = *reinterpret_cast<const float*>(shared + at);
        } else {
          total[j] = load_cluster(partial[0] + at);
#pragma unroll
          for (int s = 1; s < Splits; ++s) total[j] += load_cluster(partial[s] + at);
        }
      }
#pragma unroll
      for (int j = 0; j < kBatch; ++j)
        finish_unit<A, A, KV, Kind>(epilogue_of(all), in[j], total[j] * scale[token_of(j)], row0 + token_of(j),
                                    first_unit + unit_of(j), exists(j), lane, place - row0);
    }
  }
};
