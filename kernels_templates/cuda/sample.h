// Sampling on the device, one block a logit row: see SampleArgs for the order of the steps.
//
// Everything that decides is deterministic: thresholds are found by radix selection over order-preserving keys, and
// probability mass is a fixed-point integer (exp(l - max) * 2^40), whose sum does not depend on the order of addition.
// A 2^18-word vocabulary of equal probabilities needs 2^58.
#pragma once

#include "cuda/types.h"

constexpr int kSampleThreads = 1024;
constexpr int kRadixBins = 256;
constexpr int kSampleWarps = kSampleThreads / kWarp;

// Float keys order floats as unsigned integers: larger float, larger key. A NaN counts as -inf.
KERNEL_FN u32 float_key(float v) {
  if (v != v) v = -kInfinity;
  const u32 bits = __float_as_uint(v);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// Rank keys order logits by their distance below the maximum, in steps of 2^-25 up to 128 (beyond lies no mass); 0 is
// below every id that may be drawn. Unlike float keys they spread evenly over the bins of a histogram, so that atomics
// rarely meet.
KERNEL_FN u32 rank_of_distance(float distance) {
  return distance < 127.9f ? ~static_cast<u32>(distance * 33554432.0f) : 0u;  // 2^25; a NaN gives 0
}
KERNEL_FN u32 rank_of(float logit, float maximum) { return rank_of_distance(maximum - logit); }

KERNEL_FN u64 mass_of(float logit, float maximum) {
  return static_cast<u64>(expf(logit - maximum) * 1099511627776.0f);  // 2^40; a NaN (both -inf) converts to 0
}

// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), key = seed (low word first),
// counter = (position, 0, 0, 0); the draw is the first two output words, the first being the low half.
KERNEL_FN u64 philox_draw(u64 seed, u32 position) {
  u32 key0 = static_cast<u32>(seed), key1 = static_cast<u32>(seed >> 32);
  u32 c0 = position, c1 = 0, c2 = 0, c3 = 0;
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const u64 a = 0xD2511F53ull * c0, b = 0xCD9E8D57ull * c2;
    c0 = static_cast<u32>(b >> 32) ^ c1 ^ key0;
    c2 = static_cast<u32>(a >> 32) ^ c3 ^ key1;
    c1 = static_cast<u32>(b);
    c3 = static_cast<u32>(a);
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return static_cast<u64>(c1) << 32 | c0;
}

// Shared memory of a block.
struct SampleShared {
  u32 bins_low[kRadixBins], bins_high[kRadixBins];  // 64-bit sums: 32-bit atomics are native in shared memory
  u64 warp_mass[kSampleWarps];
  u64 reduce[kSampleWarps];
  u32 chosen_bin;
  u64 above;
  int id;
};

// The largest candidate (key, then lowest id) in `order`: key in the high word, ~id in the low one.
KERNEL_FN u64 candidate(u32 key, u32 id) { return static_cast<u64>(key) << 32 | static_cast<u32>(~id); }

// What a candidate adds to the sum that select_threshold compares with its target.
enum class Weigh { kOne, kMass };

KERNEL_FN u64 bin_sum(const SampleShared& shared, int bin) {
  return static_cast<u64>(shared.bins_high[bin]) << 32 | shared.bins_low[bin];
}

KERNEL_FN void add_to_bin(SampleShared& shared, u32 bin, u64 weight) {
  const u32 low = static_cast<u32>(weight);
  const u32 old = atomicAdd(&shared.bins_low[bin], low);
  const u32 high = static_cast<u32>(weight >> 32) + (old + low < old ? 1u : 0u);
  if (high != 0) atomicAdd(&shared.bins_high[bin], high);
}

// Radix selection from the top, four passes of eight bits: the smallest rank key t such that the weight of all keys >=
// t reaches `target`. Keys below `lowest` weigh nothing. Not inlined, like best_below: several copies would double the
// time to compile.
KERNEL_CALL u32 select_threshold(const float* logits, int vocab, u64 target, SampleShared& shared, Weigh weigh,
                                 u32 lowest, float maximum) {
  u32 prefix = 0;
  u64 above = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    __syncthreads();
    for (int i = threadIdx.x; i < kRadixBins; i += kSampleThreads) shared.bins_low[i] = shared.bins_high[i] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < vocab; i += kSampleThreads) {
      const float logit = logits[i];
      const u32 key = rank_of(logit, maximum);
      if (key < lowest || (shift < 24 && key >> (shift + 8) != prefix)) continue;
      const u64 w = weigh == Weigh::kOne ? 1 : mass_of(logit, maximum);
      if (w != 0) add_to_bin(shared, key >> shift & 255u, w);
    }
    __syncthreads();
    // The first warp walks the bins from the top, eight a lane.
    if (threadIdx.x < kWarp) {
      constexpr int kPerLane = kRadixBins / kWarp;
      const int top_bin = kRadixBins - 1 - static_cast<int>(threadIdx.x) * kPerLane;
      u64 own = 0;
#pragma unroll
      for (int j = 0; j < kPerLane; ++j) own += bin_sum(shared, top_bin - j);
      u64 inclusive = own;
#pragma unroll
      for (u32 offset = 1; offset < kWarp; offset *= 2) {
        const u64 other = __shfl_up_sync(kAllLanes, inclusive, offset);
        if (threadIdx.x >= offset) inclusive += other;
      }
      // The lane in whose bins the target is reached; if it never is, the last lane with any weight.
      const u32 reached = __ballot_sync(kAllLanes, above + inclusive >= target && own != 0);
      const u32 weighty = __ballot_sync(kAllLanes, own != 0);
      const u32 lane = reached ? __ffs(reached) - 1 : weighty ? 31 - __clz(weighty) : 0;
      if (threadIdx.x == lane) {
        u64 total = above + inclusive - own;
        int bin = top_bin;
        for (int j = 0; j < kPerLane; ++j) {
          const u64 sum = bin_sum(shared, top_bin - j);
          if (sum == 0) continue;
          bin = top_bin - j;
          if (total + sum >= target) break;
          total += sum;
        }
        shared.chosen_bin = bin;
        shared.above = total;
      }
    }
    __syncthreads();
    prefix = prefix << 8 | shared.chosen_bin;
    above = shared.above;
  }
  return prefix;
}

// Applies penalties, bias, mask and temperature: logits -> scratch.
KERNEL_FN void process_logits(const SampleArgs& args, const SampleParams& params, i64 row, const float* logits,
                              float* scratch) {
  const int vocab = static_cast<int>(args.vocab);
  const u32* counts =
      args.penalty_counts && params.slot >= 0 ? args.penalty_counts + params.slot * args.vocab : nullptr;
  const bool penalize = counts && (params.repetition_penalty != 1.0f || params.presence_penalty != 0.0f ||
                                   params.frequency_penalty != 0.0f);
  for (int i = threadIdx.x; i < vocab; i += kSampleThreads) {
    float l = logits[i];
    if (penalize) {
      const u32 count = counts[i];
      if (count != 0) {
        l = l > 0.0f ? l / params.repetition_penalty : l * params.repetition_penalty;
        const u32 in_output = count & ~kInPrompt;
        if (in_output != 0) {
          l -= params.frequency_penalty * static_cast<float>(in_output);
          l -= params.presence_penalty;
        }
      }
    }
    scratch[i] = l;
  }
  __syncthreads();
  // The first pair of an id adds the biases of all its pairs, in order, so that the sum does not depend on timing.
  for (int i = params.bias_begin + static_cast<int>(threadIdx.x); i < params.bias_end; i += kSampleThreads) {
    const int id = args.bias[i].id;
    if (id < 0 || id >= vocab) continue;
    bool first = true;
    for (int j = params.bias_begin; j < i && first; ++j) first = args.bias[j].id != id;
    if (!first) continue;
    float l = scratch[id];
    for (int j = i; j < params.bias_end; ++j) {
      if (args.bias[j].id == id) l += args.bias[j].bias;
    }
    scratch[id] = l;
  }
  __syncthreads();
  const u32* mask = params.flags & kSampleMask ? args.mask + row * args.mask_words : nullptr;
  const bool scale = params.temperature > 0.0f && params.temperature != 1.0f;
  for (int i = threadIdx.x; i < vocab; i += kSampleThreads) {
    float l = scratch[i];
    if (mask && !(mask[i / 32] >> (i % 32) & 1u)) l = -kInfinity;
    scratch[i] = scale ? l / params.temperature : l;
  }
  __syncthreads();
}

// The best candidate below `bound` in (key, lowest id) order.
KERNEL_CALL u64 best_below(const float* logits, int vocab, u64 bound, SampleShared& shared) {
  u64 best = 0;
  for (int i = threadIdx.x; i < vocab; i += kSampleThreads) {
    const u64 c = candidate(float_key(logits[i]), i);
    if (c < bound && c > best) best = c;
  }
  return block_reduce<kSampleThreads>(best, shared.reduce, MaxOf{});
}

// Draws an id among those with key >= threshold, each with its mass. Each warp owns a contiguous part of the
// vocabulary.
KERNEL_CALL int draw(const float* logits, int vocab, float maximum, u32 threshold, u64 random, SampleShared& shared) {
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int part = (vocab + kSampleWarps * kWarp - 1) / (kSampleWarps * kWarp) * kWarp;
  const int begin = min_of(warp * part, vocab), end = min_of(begin + part, vocab);
  u64 mass = 0;
  for (int i = begin + lane; i < end; i += kWarp) {
    if (rank_of(logits[i], maximum) >= threshold) mass += mass_of(logits[i], maximum);
  }
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) mass += __shfl_xor_sync(kAllLanes, mass, offset);
  __syncthreads();
  if (lane == 0) shared.warp_mass[warp] = mass;
  __syncthreads();
  u64 before = 0, total = 0;
  for (int w = 0; w < kSampleWarps; ++w) {
    if (w == warp) before = total;
    total += shared.warp_mass[w];
  }
  // Uniform in [0, total): the high word of a 64 x 64 bit product.
  u64 target = __umul64hi(random, total);
  if (target >= before && target - before < mass) {  // one warp only
    target -= before;
    for (int base = begin; base < end; base += kWarp) {
      const int i = base + lane;
      const u64 m = i < end && rank_of(logits[i], maximum) >= threshold ? mass_of(logits[i], maximum) : 0;
      u64 inclusive = m;
#pragma unroll
      for (int offset = 1; offset < kWarp; offset *= 2) {
        const u64 other = __shfl_up_sync(kAllLanes, inclusive, offset);
        if (lane >= offset) inclusive += other;
      }
      const u32 beyond = __ballot_sync(kAllLanes, inclusive > target);
      if (beyond != 0) {
        if (lane == __ffs(beyond) - 1) shared.id = i;
        break;
      }
      target -= __shfl_sync(kAllLanes, inclusive, kWarp - 1);
    }
  }
  __syncthreads();
  return shared.id;
}

// Tile: y = logit row. 1024 threads; sizeof(SampleShared) bytes of shared memory, below 3 KB.
KERNEL_FN void sample(const SampleArgs& args, Tile tile, char* shared_bytes) {
  const i64 row = tile.y;
  if (row >= args.counts->rows[kRowsLogits]) return;
  SampleShared& shared = *reinterpret_cast<SampleShared*>(shared_bytes);
  const SampleParams params = args.params[row];
  const int vocab = static_cast<int>(args.vocab);
  const float* raw = args.logits + row * args.vocab;
  float* scratch = args.scratch + row * args.vocab;

  const bool plain = params.temperature <= 0.0f && params.repetition_penalty == 1.0f &&
                     params.presence_penalty == 0.0f && params.frequency_penalty == 0.0f &&
                     params.bias_begin >= params.bias_end && !(params.flags & kSampleMask);
  if (!plain) process_logits(args, params, row, raw, scratch);
  const float* logits = plain ? raw : scratch;

  const u64 best = best_below(logits, vocab, ~0ull, shared);
  int id = static_cast<int>(~static_cast<u32>(best));
  const float maximum = logits[id];
  if (params.temperature > 0.0f && maximum > -kInfinity) {
    u32 threshold = 1;
    if (params.top_k > 0 && params.top_k < vocab) {
      const u32 kth = select_threshold(logits, vocab, params.top_k, shared, Weigh::kOne, threshold, maximum);
      if (kth > threshold) threshold = kth;
    }
    if (params.top_p < 1.0f) {
      u64 total = 0;
      for (int i = threadIdx.x; i < vocab; i += kSampleThreads) {
        if (rank_of(logits[i], maximum) >= threshold) total += mass_of(logits[i], maximum);
      }
      total = block_reduce<kSampleThreads>(total, shared.reduce, SumOf{});
      const u64 target = static_cast<u64>(static_cast<double>(total) * static_cast<double>(params.top_p));
      const u32 nucleus =
          select_threshold(logits, vocab, target > 0 ? target : 1, shared, Weigh::kMass, threshold, maximum);
      if (nucleus > threshold) threshold = nucleus;
    }
    if (params.min_p > 0.0f) {
      // exp(l - max) >= min_p, in the logarithm. The best id always stays.
      const u32 floor = rank_of_distance(fmaxf(-logf(params.min_p), 0.0f));
      if (floor > threshold) threshold = floor;
    }
    id = draw(logits, vocab, maximum, threshold, philox_draw(params.seed, params.position), shared);
  }

  SampleOut* out = args.ring + static_cast<i64>(args.counts->step % args.counts->ring_entries) * args.max_rows + row;
  if (params.flags & kSampleLogprobs) {
    const float* source = params.flags & kSampleRawLogprobs ? raw : logits;
    u64 bound = ~0ull;
    const int wanted = min_of(min_of(params.top_logprobs, static_cast<int>(kMaxTopLogprobs)), vocab);
    const u64 first = best_below(source, vocab, bound, shared);
    const float top = source[~static_cast<u32>(first)];
    u64 mass = 0;
    for (int i = threadIdx.x; i < vocab; i += kSampleThreads) mass += mass_of(source[i], top);
    mass = block_reduce<kSampleThreads>(mass, shared.reduce, SumOf{});
    const float log_sum = top + static_cast<float>(log(static_cast<double>(mass) * 9.094947017729282e-13));  // 2^-40
    if (threadIdx.x == 0) {
      out->logprob = source[id] - log_sum;
      out->count = wanted;
    }
    for (int n = 0; n < wanted; ++n) {
      bound = n == 0 ? first : best_below(source, vocab, bound, shared);
      if (threadIdx.x == 0) {
        const int other = static_cast<int>(~static_cast<u32>(bound));
        out->top_id[n] = other;
        out->top_logprob[n] = source[other] - log_sum;
      }
    }
  } else if (threadIdx.x == 0) {
    out->logprob = 0.0f;
    out->count = 0;
  }
  if (threadIdx.x == 0) {
    args.prev[row] = id;
    // Rows of one step never share a slot's count at the same id unless they belong to one sequence: hence atomic.
    if (args.penalty_counts && params.slot >= 0) atomicAdd(&args.penalty_counts[params.slot * args.vocab + id], 1u);
    out->id = id;
    __threadfence_system();  // the host polls `step`
    *const_cast<volatile i32*>(&out->step) = args.counts->step;
  }
}
