// Sampling against a float64 re-statement of SampleArgs: the drawn id must be the one at the Philox draw's place in the
// kept mass, up to the rounding of the mass.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "test/gpu/gpu_harness.h"

namespace llm_test {
namespace {

using namespace llm_abi;

u64 philox(u64 seed, u32 position) {
  u32 key[2] = {static_cast<u32>(seed), static_cast<u32>(seed >> 32)}, c[4] = {position, 0, 0, 0};
  for (int round = 0; round < 10; ++round) {
    const u64 a = 0xD2511F53ull * c[0], b = 0xCD9E8D57ull * c[2];
    const u32 next[4] = {static_cast<u32>(b >> 32) ^ c[1] ^ key[0], static_cast<u32>(b),
                         static_cast<u32>(a >> 32) ^ c[3] ^ key[1], static_cast<u32>(a)};
    std::copy(next, next + 4, c);
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return static_cast<u64>(c[1]) << 32 | c[0];
}

struct Row {
  SampleParams params = {};
  std::vector<BiasPair> bias;
};

// The logits after penalties, bias, mask and temperature, as fp32 computes them.
std::vector<double> processed(const std::vector<double>& logits, const Row& row, const u32* counts, const u32* mask) {
  std::vector<double> out = logits;
  const SampleParams& p = row.params;
  for (size_t i = 0; i < out.size(); ++i) {
    float l = static_cast<float>(out[i]);
    if (counts[i] != 0) {
      l = l > 0 ? l / p.repetition_penalty : l * p.repetition_penalty;
      const u32 n = counts[i] & ~kInPrompt;
      if (n != 0) l = l - p.frequency_penalty * static_cast<float>(n) - p.presence_penalty;
    }
    out[i] = l;
  }
  for (const BiasPair& b : row.bias) out[b.id] = static_cast<float>(out[b.id] + b.bias);
  for (size_t i = 0; i < out.size(); ++i) {
    if ((p.flags & kSampleMask) && !(mask[i / 32] >> (i % 32) & 1)) out[i] = -INFINITY;
    if (p.temperature > 0) out[i] /= p.temperature;
  }
  return out;
}

double log_sum_exp(const std::vector<double>& l) {
  const double top = *std::max_element(l.begin(), l.end());
  double sum = 0;
  for (double v : l) sum += std::exp(v - top);
  return top + std::log(sum);
}

void check_draw(const std::vector<double>& l, const SampleParams& p, int id, Outcome& outcome) {
  const int vocab = static_cast<int>(l.size());
  std::vector<int> order(vocab);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return l[a] > l[b]; });
  const double top = l[order[0]];
  if (p.temperature == 0) {
    outcome.exact(id == order[0] || l[order[0]] - l[id] < 1e-5, "greedy: not the largest logit");
    return;
  }
  std::vector<double> mass(vocab);
  for (int i = 0; i < vocab; ++i) mass[i] = std::exp(l[i] - top);
  size_t kept = p.top_k > 0 ? std::min<size_t>(p.top_k, vocab) : vocab;
  if (p.top_p < 1) {
    double total = 0, sum = 0;
    for (size_t i = 0; i < kept; ++i) total += mass[order[i]];
    size_t n = 0;
    while (n < kept && sum < p.top_p * total * (1 - 1e-7)) sum += mass[order[n++]];
    kept = n;
  }
  while (kept > 1 && mass[order[kept - 1]] < p.min_p * (1 - 1e-6)) --kept;
  std::vector<bool> in(vocab, false);
  for (size_t i = 0; i < kept; ++i) in[order[i]] = std::isfinite(l[order[i]]);
  outcome.exact(in[id], "an id outside of the kept set was drawn");
  double total = 0, before = 0;
  for (int i = 0; i < vocab; ++i) {
    if (!in[i]) continue;
    if (i < id) before += mass[i];
    total += mass[i];
  }
  const double u = std::ldexp(static_cast<double>(philox(p.seed, p.position)), -64) * total;
  // A neighbour on the edge of the kept set may fall on the other side of a threshold: that moves the place by its
  // mass.
  const double slack = 1e-5 * total;
  outcome.exact(u >= before - slack && u <= before + mass[id] + slack, "not the id at the draw's place");
}

}  // namespace

Outcome test_sample(const Kernel& kernel, Rng& rng, bool timing) {
  Outcome outcome;
  const Gpu& gpu = *kernel.gpu;
  const int vocab = 32003, mask_words = (vocab + 31) / 32, max_slots = 30, ring_entries = 4, step = 6;
  std::vector<Row> rows;
  const auto add = [&](float temperature, int top_k, float top_p, float min_p) -> Row& {
    Row row;
    row.params.temperature = temperature;
    row.params.top_k = top_k;
    row.params.top_p = top_p;
    row.params.min_p = min_p;
    row.params.repetition_penalty = 1;
    row.params.seed = rng();
    row.params.position = static_cast<int>(rng() % 100000);
    row.params.slot = static_cast<int>(max_slots - 1 - rows.size());
    rows.push_back(row);
    return rows.back();
  };
  add(0, 0, 1, 0);
  add(1, 0, 1, 0);
  add(0.7f, 40, 1, 0);
  add(1.3f, 0, 0.9f, 0);
  add(1, 0, 1, 0.05f);
  add(0.8f, 50, 0.95f, 0.02f);
  add(1, 1, 1, 0);
  add(1, 0, 1e-6f, 0);
  {
    Row& r = add(0.9f, 100, 0.99f, 0);
    r.params.repetition_penalty = 1.3f;
    r.params.presence_penalty = 0.4f;
    r.params.frequency_penalty = 0.2f;
    r.params.flags = kSampleMask | kSampleLogprobs;
    r.params.top_logprobs = 20;
    for (int i = 0; i < 50; ++i) r.bias.push_back({static_cast<int>(rng() % vocab), static_cast<float>(rng() % 9) - 4});
    r.bias.push_back(r.bias[3]);  // a pair of an id that has one
  }
  {
    Row& r = add(0, 0, 1, 0);
    r.params.repetition_penalty = 2;
    r.params.flags = kSampleLogprobs | kSampleRawLogprobs;
    r.params.top_logprobs = 5;
  }
  for (int i = 0; i < 8; ++i) add(1, 0, 1, 0);

  const int count = static_cast<int>(rows.size()), max_rows = count + 2;
  std::vector<double> logits = random_values(rng, static_cast<size_t>(max_rows) * vocab, 3.0, ScalarType::kF32);
  std::vector<u32> penalties(static_cast<size_t>(max_slots) * vocab), mask(static_cast<size_t>(max_rows) * mask_words);
  for (u32& p : penalties) p = rng() % 4 == 0 ? static_cast<u32>(rng() % 3) | (rng() % 2 ? u32{kInPrompt} : 0u) : 0;
  for (u32& m : mask) m = static_cast<u32>(rng());
  std::vector<SampleParams> params;
  std::vector<BiasPair> bias;
  for (Row& r : rows) {
    r.params.bias_begin = static_cast<int>(bias.size());
    bias.insert(bias.end(), r.bias.begin(), r.bias.end());
    r.params.bias_end = static_cast<int>(bias.size());
    params.push_back(r.params);
  }
  const auto counts = make_counts(gpu, count, count, count, 0, 0, step, ring_entries);
  TypedArray device_logits(gpu, logits, ScalarType::kF32);
  DeviceArray<SampleParams> device_params(gpu, params);
  DeviceArray<BiasPair> device_bias(gpu, bias);
  DeviceArray<u32> device_mask(gpu, mask), device_penalties(gpu, penalties);
  DeviceArray<float> scratch(gpu, logits.size());
  DeviceArray<int> prev(gpu, max_rows);
  DeviceArray<SampleOut> ring(gpu, static_cast<size_t>(ring_entries) * max_rows);
  const SampleArgs args = {counts.get(),        device_logits.ptr<float>(),
                           device_params.get(), device_bias.get(),
                           device_mask.get(),   device_penalties.get(),
                           scratch.get(),       prev.get(),
                           ring.get(),          vocab,
                           mask_words,          max_rows};
  kernel.launch(args, 1, max_rows);

  const auto ids = prev.values();
  const auto records = ring.values();
  for (int r = 0; r < count; ++r) {
    const SampleParams& p = rows[r].params;
    const std::vector<double> raw(logits.begin() + static_cast<size_t>(r) * vocab,
                                  logits.begin() + static_cast<size_t>(r + 1) * vocab);
    const auto l = processed(raw, rows[r], &penalties[static_cast<size_t>(p.slot) * vocab],
                             &mask[static_cast<size_t>(r) * mask_words]);
    const SampleOut& record = records[(step % ring_entries) * max_rows + r];
    outcome.exact(ids[r] >= 0 && ids[r] < vocab, "no id");
    outcome.exact(record.step == step && record.id == ids[r], "ring record differs");
    if (!outcome.failure.empty()) break;
    check_draw(l, p, ids[r], outcome);
    if (p.flags & kSampleLogprobs) {
      const auto& source = p.flags & kSampleRawLogprobs ? raw : l;
      const double lse = log_sum_exp(source);
      outcome.near(record.logprob, source[ids[r]] - lse, 1e-5, "log-probability");
      outcome.exact(record.count == p.top_logprobs, "count of top log-probabilities");
      std::vector<double> sorted = source;
      std::sort(sorted.rbegin(), sorted.rend());
      for (int n = 0; n < p.top_logprobs; ++n)
        outcome.near(record.top_logprob[n], sorted[n] - lse, 1e-5, "top log-probability");
    }
    penalties[static_cast<size_t>(p.slot) * vocab + ids[r]] += 1;
    if (!outcome.failure.empty()) {
      outcome.failure += " (row " + std::to_string(r) + ")";
      break;
    }
  }
  outcome.exact(device_penalties.values() == penalties, "penalty counts differ");

  if (timing) {  // one row of a 128 k vocabulary, top-p
    const int large = 128256;
    DeviceArray<float> large_logits(gpu, large), large_scratch(gpu, large);
    const std::vector<double> values = random_values(rng, large, 3.0, ScalarType::kF32);
    const auto bytes = encode(values, ScalarType::kF32);
    large_logits.write(bytes.data(), bytes.size());
    SampleParams p = rows[3].params;
    p.slot = -1;
    DeviceArray<SampleParams> one(gpu, std::vector<SampleParams>{p});
    const auto one_count = make_counts(gpu, 1, 1, 1);
    SampleArgs timed = args;
    timed.counts = one_count.get();
    timed.params = one.get();
    timed.logits = large_logits.get();
    timed.scratch = large_scratch.get();
    timed.vocab = large;
    outcome.us = kernel.time_us(timed, 1, 1);
    outcome.rate = "top-p over 128256";
  }
  return outcome;
}

}  // namespace llm_test
