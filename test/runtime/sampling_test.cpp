// The `sample` program through the engine, against a reference in double on the logits that the same step returned.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "runtime/kv_cache.h"
#include "test/runtime/engine_options.h"
#include "test/runtime/step_rows.h"

namespace llmrt_test {
namespace {

using llm_abi::SampleOut;
using llm_abi::SampleParams;

const std::vector<int32_t> kPrompt = {1, 17, 45, 17, 99, 3, 60, 12, 45, 8};

SampleParams neutral() {
  SampleParams p{};
  p.top_p = 1, p.repetition_penalty = 1, p.slot = -1;
  return p;
}

// 1 - 1e-4 quantile of the chi-square distribution (Wilson and Hilferty, 1931).
double chi_square_limit(double degrees) {
  const double z = 3.719, h = 2 / (9 * degrees);
  return degrees * std::pow(1 - h + z * std::sqrt(h), 3);
}

class Sampling : public testing::Test {
 protected:
  void SetUp() override {
    engine_ = load_engine();
    ASSERT_TRUE(engine_);
    vocab_ = engine_->plan().model->vocab;
    rows_ = engine_->plan().limits->max_logits;
    kv_ = std::make_unique<llmrt::KvCache>(engine_->plan(), engine_->memory().kv_blocks);
  }

  // Adds one sequence of the tokens, from position `first` on.
  void add(llmrt::StepInput& in, int32_t slot, const std::vector<int32_t>& tokens, int32_t first) {
    if (first == 0) kv_->release(slot);
    add_sequence(in, slot, tokens, first);
    ASSERT_TRUE(kv_->reserve(slot, static_cast<uint64_t>(in.kv_len.back()), in.block_updates));
  }

  // A row that samples with p from the last token added so far.
  void sample_last(llmrt::StepInput& in, SampleParams p) {
    p.token_row = static_cast<int32_t>(in.tokens.size()) - 1;
    in.logit_rows.push_back(p.token_row);
    in.sampling.push_back(p);
  }

  std::vector<SampleOut> run(const llmrt::StepInput& in) {
    const auto step = engine_->submit(in);
    if (!step) {
      ADD_FAILURE() << step.error().message;
      return std::vector<SampleOut>(in.logit_rows.size());
    }
    EXPECT_TRUE(engine_->wait(*step).ok());
    const auto samples = engine_->samples(*step);
    std::vector<SampleOut> out(samples.begin(), samples.begin() + static_cast<int64_t>(in.logit_rows.size()));
    for (const SampleOut& s : out) EXPECT_EQ(s.step, static_cast<int32_t>(*step));
    logits_.resize(in.logit_rows.size() * vocab_);
    EXPECT_TRUE(engine_->read_logits(logits_).ok());
    return out;
  }

  // One step of kPrompt in slot 0 that samples once for every p; logits_ then holds equal rows.
  std::vector<SampleOut> draw(const std::vector<SampleParams>& parameters,
                              const std::vector<llm_abi::BiasPair>& bias = {}, const std::vector<uint32_t>& mask = {}) {
    llmrt::StepInput in;
    add(in, 0, kPrompt, 0);
    for (const SampleParams& p : parameters) sample_last(in, p);
    in.bias = bias, in.mask = mask;
    return run(in);
  }

  // `count` draws with different seeds (or positions), counted by id.
  std::map<int32_t, double> histogram(const SampleParams& p, size_t count, bool vary_position = false) {
    std::map<int32_t, double> counts;
    for (size_t n = 0; n < count; n += rows_) {
      std::vector<SampleParams> all(rows_, p);
      for (size_t r = 0; r < rows_; ++r) {
        all[r].seed = vary_position ? 1234567 : 0x9E3779B97F4A7C15ull * (n + r + 1);
        all[r].position = vary_position ? static_cast<int32_t>(n + r) : 7;
      }
      for (const SampleOut& s : draw(all)) ++counts[s.id];
    }
    return counts;
  }

  std::vector<double> logits() const { return {logits_.begin(), logits_.begin() + static_cast<int64_t>(vocab_)}; }

  static std::vector<double> softmax(std::vector<double> l) {
    const double maximum = *std::max_element(l.begin(), l.end());
    double sum = 0;
    for (double& v : l) sum += v = std::exp(v - maximum);
    for (double& v : l) v /= sum;
    return l;
  }

  static std::vector<size_t> by_probability(const std::vector<double>& p) {
    std::vector<size_t> order(p.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] > p[b]; });
    return order;
  }

  // Pearson's test with bins of an expected count below 5 put together; no id may come that has probability 0.
  static void expect_distribution(const std::map<int32_t, double>& counts, const std::vector<double>& p) {
    double total = 0, statistic = 0, rest = 0, rest_expected = 0;
    for (const auto& [id, n] : counts) {
      total += n;
      EXPECT_GT(p[static_cast<size_t>(id)], 0) << "id " << id << " is outside of the support";
    }
    int bins = 0;
    for (size_t i = 0; i < p.size(); ++i) {
      const auto found = counts.find(static_cast<int32_t>(i));
      const double n = found == counts.end() ? 0 : found->second, expected = p[i] * total;
      if (expected < 5) {
        rest += n, rest_expected += expected;
      } else {
        statistic += (n - expected) * (n - expected) / expected;
        ++bins;
      }
    }
    if (rest_expected > 5) statistic += (rest - rest_expected) * (rest - rest_expected) / rest_expected, ++bins;
    EXPECT_GE(bins, 2);
    EXPECT_LT(statistic, chi_square_limit(bins - 1)) << bins << " bins, " << total << " draws";
  }

  static std::vector<double> restricted(std::vector<double> p, const std::set<size_t>& support) {
    double sum = 0;
    for (size_t i = 0; i < p.size(); ++i) sum += p[i] = support.count(i) ? p[i] : 0;
    for (double& v : p) v /= sum;
    return p;
  }

  std::unique_ptr<llmrt::Engine> engine_;
  std::unique_ptr<llmrt::KvCache> kv_;
  std::vector<float> logits_;  // of the last step [rows, vocab]
  size_t vocab_ = 0, rows_ = 0;
};

constexpr size_t kDraws = 20000;

TEST_F(Sampling, TemperatureZeroTakesTheMostLikelyId) {
  const auto out = draw({neutral()});
  const auto l = logits();
  EXPECT_EQ(out[0].id, std::max_element(l.begin(), l.end()) - l.begin());
}

TEST_F(Sampling, TemperatureZeroTakesTheLowestOfEqualIds) {
  SampleParams p = neutral();
  p.bias_begin = 0, p.bias_end = 3;
  // A bias so large that it swallows the logits makes them equal.
  EXPECT_EQ(draw({p}, {{90, 1e30f}, {7, 1e30f}, {33, 1e30f}})[0].id, 7);
}

TEST_F(Sampling, TemperatureFollowsTheSoftmax) {
  for (float temperature : {0.5f, 1.0f, 1.7f}) {
    SampleParams p = neutral();
    p.temperature = temperature;
    const auto counts = histogram(p, kDraws);
    auto l = logits();
    for (double& v : l) v /= temperature;
    expect_distribution(counts, softmax(l));
  }
}

TEST_F(Sampling, PositionsOfOneSeedAreIndependentDraws) {
  SampleParams p = neutral();
  p.temperature = 1;
  const auto counts = histogram(p, kDraws, /*vary_position=*/true);
  expect_distribution(counts, softmax(logits()));
}

TEST_F(Sampling, TopKKeepsTheKMostLikely) {
  for (int32_t k : {1, 2, 5, 40}) {
    SampleParams p = neutral();
    p.temperature = 1.5f, p.top_k = k;
    const auto counts = histogram(p, k == 1 ? 320 : kDraws);
    auto l = logits();
    for (double& v : l) v /= 1.5;
    const auto probabilities = softmax(l);
    const auto order = by_probability(probabilities);
    const std::set<size_t> support(order.begin(), order.begin() + k);
    if (k == 1) {
      ASSERT_EQ(counts.size(), 1u);
      EXPECT_EQ(counts.begin()->first, static_cast<int32_t>(order[0]));
    } else {
      expect_distribution(counts, restricted(probabilities, support));
    }
  }
}

TEST_F(Sampling, TopPKeepsTheSmallestSetThatReachesP) {
  for (float top_p : {0.3f, 0.6f, 0.9f}) {
    SampleParams p = neutral();
    p.temperature = 1, p.top_p = top_p;
    const auto counts = histogram(p, kDraws);
    const auto probabilities = softmax(logits());
    std::set<size_t> support;
    double mass = 0;
    for (size_t i : by_probability(probabilities)) {
      if (mass >= top_p) break;
      support.insert(i);
      mass += probabilities[i];
    }
    ASSERT_GE(support.size(), 2u);
    expect_distribution(counts, restricted(probabilities, support));
  }
}

TEST_F(Sampling, MinPKeepsAShareOfTheMostLikely) {
  for (float min_p : {0.05f, 0.2f}) {
    SampleParams p = neutral();
    p.temperature = 1, p.min_p = min_p;
    const auto counts = histogram(p, kDraws);
    const auto probabilities = softmax(logits());
    const double least = min_p * *std::max_element(probabilities.begin(), probabilities.end());
    std::set<size_t> support;
    for (size_t i = 0; i < probabilities.size(); ++i)
      if (probabilities[i] >= least) support.insert(i);
    ASSERT_GE(support.size(), 2u);
    expect_distribution(counts, restricted(probabilities, support));
  }
}

// Top-k first, then top-p of what is left, then min-p.
TEST_F(Sampling, FiltersApplyInOrder) {
  SampleParams p = neutral();
  p.temperature = 2, p.top_k = 30, p.top_p = 0.8f, p.min_p = 0.15f;
  const auto counts = histogram(p, kDraws);
  auto l = logits();
  for (double& v : l) v /= 2;
  const auto all = softmax(l);
  const auto order = by_probability(all);
  const auto kept = restricted(all, {order.begin(), order.begin() + 30});
  std::set<size_t> support;
  double mass = 0;
  for (size_t i : order) {
    if (mass >= 0.8) break;
    mass += kept[i];
    if (kept[i] >= 0.15 * kept[order[0]]) support.insert(i);
  }
  ASSERT_GE(support.size(), 3u);
  expect_distribution(counts, restricted(all, support));
}

TEST_F(Sampling, MaskForbidsIds) {
  const uint64_t words = engine_->plan().limits->mask_words;
  std::vector<uint32_t> mask(words * 2, 0xffffffffu);
  draw({neutral()});
  const auto order = by_probability(logits());
  // The first row may not have the two most likely; the second row has no mask.
  for (size_t i : {order[0], order[1]}) mask[i / 32] &= ~(1u << i % 32);
  SampleParams masked = neutral();
  masked.flags = llm_abi::kSampleMask;
  const auto out = draw({masked, neutral()}, {}, mask);
  EXPECT_EQ(out[0].id, static_cast<int32_t>(order[2]));
  EXPECT_EQ(out[1].id, static_cast<int32_t>(order[0]));
}

TEST_F(Sampling, BiasBelongsToItsRow) {
  draw({neutral()});
  const auto order = by_probability(logits());
  const auto last = static_cast<int32_t>(order.back());
  SampleParams first = neutral(), second = neutral();
  first.bias_begin = 0, first.bias_end = 1;
  second.bias_begin = 1, second.bias_end = 3;
  const auto out = draw({first, second, neutral()}, {{last, 100}, {static_cast<int32_t>(order[0]), -100}, {-5, 100}});
  EXPECT_EQ(out[0].id, last);
  EXPECT_EQ(out[1].id, static_cast<int32_t>(order[1]));
  EXPECT_EQ(out[2].id, static_cast<int32_t>(order[0]));
}

TEST_F(Sampling, LogProbabilitiesAreTheLogSoftmaxAndSorted) {
  SampleParams raw = neutral(), processed = neutral();
  raw.temperature = processed.temperature = 0.7f;
  raw.flags = llm_abi::kSampleLogprobs | llm_abi::kSampleRawLogprobs;
  processed.flags = llm_abi::kSampleLogprobs;
  raw.top_logprobs = 20, processed.top_logprobs = 5;
  const auto out = draw({raw, processed});
  for (size_t r = 0; r < 2; ++r) {
    auto l = logits();
    if (r == 1)
      for (double& v : l) v /= 0.7f;
    const auto p = softmax(l);
    const auto order = by_probability(l);
    ASSERT_EQ(out[r].count, r == 0 ? 20 : 5);
    EXPECT_NEAR(out[r].logprob, std::log(p[static_cast<size_t>(out[r].id)]), 1e-5);
    for (int32_t i = 0; i < out[r].count; ++i) {
      EXPECT_EQ(out[r].top_id[i], static_cast<int32_t>(order[static_cast<size_t>(i)]));
      EXPECT_NEAR(out[r].top_logprob[i], std::log(p[order[static_cast<size_t>(i)]]), 1e-5);
    }
  }
}

// Repetition counts prompt and output, presence and frequency the output only.
TEST_F(Sampling, PenaltiesFollowPromptAndOutput) {
  SampleParams p = neutral();
  p.slot = 3, p.repetition_penalty = 1.3f, p.presence_penalty = 0.4f, p.frequency_penalty = 0.25f;
  p.flags = llm_abi::kSampleLogprobs, p.top_logprobs = 20;
  std::map<int32_t, int> output;
  std::set<int32_t> seen(kPrompt.begin(), kPrompt.end());
  std::vector<int32_t> tokens = kPrompt;
  int32_t first = 0;
  for (int step = 0; step < 12; ++step) {
    llmrt::StepInput in;
    add(in, 3, tokens, first);
    sample_last(in, p);
    const SampleOut out = run(in)[0];
    auto l = logits();
    for (int32_t id : seen) {
      double& v = l[static_cast<size_t>(id)];
      v = v > 0 ? v / p.repetition_penalty : v * p.repetition_penalty;
      if (output.count(id)) v -= p.frequency_penalty * output[id] + p.presence_penalty;
    }
    const auto probabilities = softmax(l);
    const auto order = by_probability(l);
    EXPECT_EQ(out.id, static_cast<int32_t>(order[0])) << "step " << step;
    for (int32_t i = 0; i < out.count; ++i)
      EXPECT_NEAR(out.top_logprob[i], std::log(probabilities[order[static_cast<size_t>(i)]]), 1e-5) << "step " << step;
    first += static_cast<int32_t>(tokens.size());
    // Every other id comes from the host, so that both ways are counted once.
    tokens = {step % 2 ? out.id : -1};
    seen.insert(out.id);
    ++output[out.id];
  }
  // A new sequence in the slot starts without counts.
  llmrt::StepInput in;
  add(in, 3, {5, 6, 7}, 0);
  sample_last(in, p);
  const SampleOut out = run(in)[0];
  auto l = logits();
  for (size_t id : {5, 6, 7}) l[id] = l[id] > 0 ? l[id] / p.repetition_penalty : l[id] * p.repetition_penalty;
  EXPECT_NEAR(out.top_logprob[0], std::log(softmax(l)[by_probability(l)[0]]), 1e-5);
}

TEST_F(Sampling, SeedsAreReproducibleWhateverElseIsInTheStep) {
  const auto params = [](uint64_t seed) {
    SampleParams p = neutral();
    p.temperature = 1.2f, p.seed = seed, p.position = static_cast<int32_t>(kPrompt.size());
    return p;
  };
  std::set<int32_t> different;
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    const int32_t alone = draw({params(seed)})[0].id;
    EXPECT_EQ(draw({params(seed)})[0].id, alone);
    EXPECT_EQ(draw({params(seed + 500), params(seed + 900), params(seed)})[2].id, alone);
    llmrt::StepInput in;
    add(in, 5, {40, 2, 88}, 0);
    sample_last(in, params(seed + 1000));
    add(in, 2, kPrompt, 0);
    sample_last(in, params(seed));
    EXPECT_EQ(run(in)[1].id, alone) << "seed " << seed;
    different.insert(alone);
  }
  EXPECT_GT(different.size(), 5u);
}

}  // namespace
}  // namespace llmrt_test
