// Sampling, one logit row per tile: the same order of steps and the same fixed-point arithmetic as cuda/sample.h, so that a seed gives
// the same ids wherever exp agrees to the last bit that matters.
#pragma once

#include "x86/simd.h"

constexpr int kRadixBins = 256;
constexpr float kMassOne = 1099511627776.0f;  // 2^40: probability mass is a fixed-point integer, whose sum has no order

KERNEL_FN u32 key_of(float v) {  // orders floats as unsigned integers; NaN counts as -inf
  if (v != v) v = -__builtin_inff();
  const u32 bits = __builtin_bit_cast(u32, v);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
constexpr u32 kKeyOfMinusInfinity = 0x007fffffu;

KERNEL_FN u64 mass_of(float logit, float maximum) {
  const float p = exp1(logit - maximum);
  return p > 0 ? static_cast<u64>(p * kMassOne) : 0;
}

// Philox4x32-10 (Salmon et al., SC 2011), key = seed, counter = (position, 0, 0, 0); the first two words of the output.
KERNEL_FN u64 philox_draw(u64 seed, u32 position) {
  u32 key0 = static_cast<u32>(seed), key1 = static_cast<u32>(seed >> 32);
  u32 c0 = position, c1 = 0, c2 = 0, c3 = 0;
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

// The smallest key t such that the weight of all keys >= t reaches `target`; four passes of eight bits.
template <typename Weight>
KERNEL_FN u32 select_threshold(const float* logits, i64 vocab, u64 target, Weight weight) {
  u32 prefix = 0;
  u64 above = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    u64 bins[kRadixBins] = {};
    for (i64 i = 0; i < vocab; ++i) {
      const u32 key = key_of(logits[i]);
      if (shift < 24 && key >> (shift + 8) != prefix) continue;
      bins[key >> shift & 255u] += weight(logits[i], key);
    }
    u32 bin = 0;
    for (int b = kRadixBins - 1; b >= 0; --b) {
      if (bins[b] == 0) continue;
      bin = static_cast<u32>(b);
      if (above + bins[b] >= target) break;
      above += bins[b];
    }
    prefix = prefix << 8 | bin;
  }
  return prefix;
}

KERNEL_FN void process_logits(const SampleArgs& a, const SampleParams& p, i64 row, const float* logits, float* out) {
  const u32* counts = a.penalty_counts && p.slot >= 0 ? a.penalty_counts + p.slot * a.vocab : nullptr;
  const bool penalize = counts && (p.repetition_penalty != 1.0f || p.presence_penalty != 0.0f || p.frequency_penalty != 0.0f);
  for (i64 i = 0; i < a.vocab; ++i) {
    float l = logits[i];
    if (penalize && counts[i] != 0) {
      l = l > 0 ? l / p.repetition_penalty : l * p.repetition_penalty;
      const u32 in_output = counts[i] & ~kInPrompt;
      if (in_output != 0) l -= p.frequency_penalty * static_cast<float>(in_output), l -= p.presence_penalty;
    }
    out[i] = l;
  }
  for (i32 i = p.bias_begin; i < p.bias_end; ++i)
    if (a.bias[i].id >= 0 && a.bias[i].id < a.vocab) out[a.bias[i].id] += a.bias[i].bias;
  const u32* mask = p.flags & kSampleMask ? a.mask + row * a.mask_words : nullptr;
  const bool scale = p.temperature > 0 && p.temperature != 1.0f;
  for (i64 i = 0; i < a.vocab; ++i) {
    if (mask && !(mask[i / 32] >> (i % 32) & 1u)) out[i] = -__builtin_inff();
    if (scale) out[i] /= p.temperature;
  }
}

// The best id below `bound` in the order (key, lowest id first); a candidate is key << 32 | ~id.
KERNEL_FN u64 best_below(const float* logits, i64 vocab, u64 bound) {
  u64 best = 0;
  for (i64 i = 0; i < vocab; ++i) {
    const u64 c = static_cast<u64>(key_of(logits[i])) << 32 | static_cast<u32>(~static_cast<u32>(i));
    if (c < bound && c > best) best = c;
  }
  return best;
}
KERNEL_FN i32 id_of(u64 candidate) { return static_cast<i32>(~static_cast<u32>(candidate)); }

KERNEL_FN i32 choose(const SampleParams& p, const float* logits, i64 vocab) {
  const i32 best = id_of(best_below(logits, vocab, ~0ull));
  const float maximum = logits[best];
  if (!(p.temperature > 0) || !(maximum > -__builtin_inff())) return best;
  u32 threshold = kKeyOfMinusInfinity + 1;
  if (p.top_k > 0 && p.top_k < vocab) {
    const u32 kth = select_threshold(logits, vocab, static_cast<u64>(p.top_k), [](float, u32) { return u64{1}; });
    if (kth > threshold) threshold = kth;
  }
  if (p.top_p < 1.0f) {
    const u32 floor = threshold;
    const auto kept_mass = [=](float l, u32 key) { return key >= floor ? mass_of(l, maximum) : u64{0}; };
    u64 total = 0;
    for (i64 i = 0; i < vocab; ++i) total += kept_mass(logits[i], key_of(logits[i]));
    const u64 target = static_cast<u64>(static_cast<double>(total) * static_cast<double>(p.top_p));
    const u32 nucleus = select_threshold(logits, vocab, target > 0 ? target : 1, kept_mass);
    if (nucleus > threshold) threshold = nucleus;
  }
  if (p.min_p > 0) {
    const float limit = maximum + log1(p.min_p);
    const u32 floor = key_of(limit < maximum ? limit : maximum);
    if (floor > threshold) threshold = floor;
  }
  u64 total = 0;
  for (i64 i = 0; i < vocab; ++i)
    if (key_of(logits[i]) >= threshold) total += mass_of(logits[i], maximum);
  // Uniform in [0, total): the high word of a 64 x 64 bit product.
  u64 target = static_cast<u64>(static_cast<unsigned __int128>(philox_draw(p.seed, static_cast<u32>(p.position))) * total >> 64);
  for (i64 i = 0; i < vocab; ++i) {
    if (key_of(logits[i]) < threshold) continue;
    const u64 mass = mass_of(logits[i], maximum);
    if (target < mass) return static_cast<i32>(i);
    target -= mass;
  }
  return best;
}

KERNEL_FN void report_logprobs(const SampleParams& p, const float* source, i64 vocab, i32 id, SampleOut* out) {
  const u64 first = best_below(source, vocab, ~0ull);
  const float top = source[id_of(first)];
  f32x16 lanes{};
  float rest = 0;
  i64 i = 0;
  for (; i + 16 <= vocab; i += 16) lanes += exp16(load16(source + i) - top);
  for (; i < vocab; ++i) rest += exp1(source[i] - top);
  const float log_sum = top + log1(sum(lanes) + rest);
  out->logprob = source[id] - log_sum;
  const i64 wanted = min_of(min_of(static_cast<i64>(p.top_logprobs), static_cast<i64>(kMaxTopLogprobs)), vocab);
  u64 bound = ~0ull;
  for (i64 n = 0; n < wanted; ++n) {
    bound = best_below(source, vocab, bound);
    out->top_id[n] = id_of(bound);
    out->top_logprob[n] = source[id_of(bound)] - log_sum;
  }
  out->count = static_cast<i32>(wanted);
}

KERNEL_FN void sample(const SampleArgs& a, Tile tile) {
  const i64 row = tile.y;
  if (row >= a.counts->rows[kRowsLogits]) return;
  const SampleParams& p = a.params[row];
  const float* raw = a.logits + row * a.vocab;
  float* processed = a.scratch + row * a.vocab;
  const bool plain = !(p.temperature > 0) && p.repetition_penalty == 1.0f && p.presence_penalty == 0.0f && p.frequency_penalty == 0.0f &&
                     p.bias_begin >= p.bias_end && !(p.flags & kSampleMask);
  if (!plain) process_logits(a, p, row, raw, processed);
  const float* logits = plain ? raw : processed;
  const i32 id = choose(p, logits, a.vocab);
  SampleOut* out = a.ring + static_cast<i64>(a.counts->step % a.counts->ring_entries) * a.max_rows + row;
  out->logprob = 0;
  out->count = 0;
  if (p.flags & kSampleLogprobs) report_logprobs(p, p.flags & kSampleRawLogprobs ? raw : logits, a.vocab, id, out);
  a.prev[row] = id;
  if (a.penalty_counts && p.slot >= 0) a.penalty_counts[p.slot * a.vocab + id] += 1;
  out->id = id;
  __atomic_store_n(&out->step, a.counts->step, __ATOMIC_RELEASE);
}
