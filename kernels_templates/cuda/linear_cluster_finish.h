// What follows the sums of kernels whose 64-row operand of wgmma is the weight: a block leaves them in shared memory, the
// blocks of a cluster that share K add them up, each for its share of the tokens, and half a warp finishes 16 rows of
// the weight for a token (linear_epilogue.h).
#pragma once

#include "cuda/linear_epilogue.h"
#include "cuda/wgmma.h"

// What stands in shared memory beside the sums: places in the KV cache, row scales of the tokens, the terms they are
// summed up from.
template <int N, int Helpers>
constexpr int kClusterFinishBytes = N * static_cast<int>(sizeof(KvPlace)) + N * 4 + Helpers * 4;

// Threads First to First + Threads - 1 of a block call store(), which has MaxBatch jobs at once at most, each with Splits
// sums and its inputs.
template <int Units, int N, int Splits, Epilogue Kind, typename Args, int Threads, int First, int MaxBatch>
struct ClusterFinish {
  static constexpr int kTokens = (N + Splits - 1) / Splits;  // of this block, fewer of the last
  // [token, row], rows of 4 floats more: the four lanes that hold two tokens each write to different banks.
  static constexpr int kStride = 16 * Units + 4, kPartialBytes = N * kStride * 4;

  const Args& all;
  i64 first_unit, row0, rows;  // rows from row0 on
  int first_token;             // of these
  KvPlace* place;              // [N]
  float* scale;                // [N]
  float* terms;                // one of each thread that prepares

  // `split` of `tile`.
  KERNEL_FN ClusterFinish(const Args& all, u32 tile, u32 split, i64 row0, char* shared)
      : all(all),
        first_unit(static_cast<i64>(tile) * Units),
        row0(row0),
        rows(linear_of(all).counts->rows[linear_of(all).row_count] - row0),
        first_token(static_cast<int>(split) * kTokens),
        place(reinterpret_cast<KvPlace*>(shared)),
        scale(reinterpret_cast<float*>(place + N)),
        terms(scale + N) {}

  // Row scales and places, by Helpers threads from number FirstHelper on, which have a barrier of their own.
  template <int Helpers, int FirstHelper, int Barrier>
  KERNEL_FN void prepare() const {
    static_assert(kTokens <= Helpers, "a thread for each token");
    constexpr int kSlices = Helpers / kTokens, kAhead = 32;
    const FusedLinearArgs& args = linear_of(all);
    const int thread = static_cast<int>(threadIdx.x) - FirstHelper;
    if constexpr (Kind == Epilogue::kRope) {
      const int token = first_token + Helpers - 1 - thread;  // by the last threads, which have fewer terms
      if (token < first_token + kTokens && has(token))
        place[token] = KvPlace::of(epilogue_of(all).kv, epilogue_of(all), row0 + token);
    }
    const int slice = thread / kTokens, token = first_token + thread % kTokens;
    float sum = 0.0f;
    for (i64 part = slice; args.squares && part < args.square_parts; part += kSlices * kAhead) {
      float v[kAhead];
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        const i64 at = part + i * kSlices;
        v[i] = has(token) && at < args.square_parts ? args.squares[at * args.square_stride + row0 + token] : 0.0f;
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) sum += v[i];
    }
    terms[thread] = sum;
    named_barrier_sync(Barrier, Helpers);
    if (thread >= kTokens || token >= N) return;
#pragma unroll 8
    for (int s = 1; s < kSlices; ++s) sum += terms[s * kTokens + thread];
    scale[token] = args.squares ? inverse_rms(sum, args.k, args.eps) : 1.0f;
  }

  // The sums of a warp for its 16 rows: `first` and `second` are the places of its first eight rows and of the others,
  // unit by unit.
  KERNEL_FN static void leave(char* shared, const float (&sum)[N / 2], int first, int second) {
    const int lane = threadIdx.x % kWarp, g = lane / 4, t = lane % 4;
    float* partial = reinterpret_cast<float*>(shared) + 2 * t * kStride + g;
#pragma unroll
    for (int i = 0; i < N / 2; ++i) partial[(i / 4 * 8 + i % 2) * kStride + (i / 2 % 2 ? second : first)] = sum[i];
  }

  // Half a warp finishes a unit of a token. Jobs beyond the last token of the block do nothing.
  static constexpr int kHalfWarps = Threads / 16, kJobs = (kTokens * Units + kHalfWarps - 1) / kHalfWarps;
  static constexpr int kBatches = (kJobs + MaxBatch - 1) / MaxBatch, kBatch = (kJobs + kBatches - 1) / kBatches;
  struct Job {
    int token, unit, lane;
    bool exists;
  };
  KERNEL_FN Job job(int number) const {
    const int at = number * kHalfWarps + static_cast<int>(threadIdx.x - First) / 16;
    const int within = at / Units, unit = at % Units;
    const bool exists = within < kTokens && has(first_token + within) &&
                        column_exists<Kind>(linear_of(all), unit_column<Kind>(first_unit + unit, 0));
    return {min_of(first_token + within, N - 1), unit, static_cast<int>(threadIdx.x % 16), exists};
  }
  template <typename A>
  struct Inputs {
    UnitInputs<A> of_job[kBatch];
  };
  // What batch `batch` needs from memory apart from the sums.
  template <typename A>
  KERNEL_FN Inputs<A> load_inputs(int batch) const {
    Inputs<A> in;
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const Job j = job(batch * kBatch + i);
      in.of_job[i] = load_unit<A, Kind>(epilogue_of(all), row0 + j.token, first_unit + j.unit, j.exists, j.lane);
    }
    return in;
  }

  // The sums of all blocks of the cluster, in the order of K, to memory; `in`: of the first batch. All blocks of the
  // cluster have left their sums.
  template <typename A, typename KV>
  KERNEL_FN void store(const char* shared, Inputs<A> in) const {
    u32 partial[Splits];
#pragma unroll
    for (int s = 0; s < Splits; ++s) partial[s] = Splits > 1 ? cluster_address(shared_address(shared), s) : 0;
#pragma unroll 1
    for (int batch = 0; batch < kBatches; ++batch) {
      if (batch > 0) in = load_inputs<A>(batch);
      float v[kBatch][Splits];
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        const int at = place_of(job(batch * kBatch + i));
#pragma unroll
        for (int s = 0; s < Splits; ++s)
          v[i][s] = Splits > 1 ? load_cluster(partial[s] + at) : *reinterpret_cast<const float*>(shared + at);
      }
#pragma unroll
      for (int i = 0; i < kBatch; ++i) {
        float total = v[i][0];
#pragma unroll
        for (int s = 1; s < Splits; ++s) total += v[i][s];
        const Job j = job(batch * kBatch + i);
        finish_unit<A, A, KV, Kind>(epilogue_of(all), in.of_job[i], total * scale[j.token], row0 + j.token,
                                    first_unit + j.unit, j.exists, j.lane, place - row0);
      }
    }
    // No block ends while another reads its shared memory. A barrier without an order of memory would not wait for
    // loads.
    if constexpr (Splits > 1) cluster_sync();
  }

 private:
  KERNEL_FN bool has(int token) const { return token < rows && token < N; }
  KERNEL_FN static int place_of(const Job& j) { return (j.token * kStride + j.unit * 16 + j.lane) * 4; }
};
