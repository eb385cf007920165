// Two ways to the same numbers: batch 1 and batch B, whole and chunked prefill, prefill and decode, a plan and the same
// plan with a pass disabled, and so on. Needs plans of make_test_plans.py (its folder `metamorphic`); links no
// compiler, so that it also runs on a GPU machine:
//   metamorphic_test --plans DIR --models DIR --goldens DIR [--device cuda --target sm_75 --ptx]
//
// Where both ways run the same kernels on the same values in the same order, the bits must be equal. Elsewhere (another
// bucket chooses another kernel, which adds in another order) the mean KL must stay below the tolerance, 1e-8 for
// float32 operands, and no logit may move further than a near-tie of that tolerance. Volta and Turing are allowed 1e-5
// with bfloat16 weights: their tensor cores round operands to float16 when there are many tokens.
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "plan/plan_reader.h"
#include "runtime/engine.h"
#include "runtime/kv_cache.h"
#include "test/runtime/golden.h"
#include "test/runtime/number_class.h"
#include "test/runtime/step_rows.h"
#include "test/runtime/test_engine.h"

namespace llmrt_test {
namespace {

struct Options {
  std::string plans, models, goldens;
  EngineSpec engine;
} g_options;

bool plan_has_target(const std::string& path) {
  const auto plan = llm::PlanFile::open(path);
  if (!plan || g_options.engine.target.empty()) return plan.ok();
  for (const auto& t : (*plan)->index().targets)
    if (t->name == g_options.engine.target) return true;
  return false;
}

class Metamorphic : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    auto golden = read_golden(g_options.goldens, GetParam());
    ASSERT_TRUE(golden) << golden.error().message;
    golden_ = std::move(*golden);
    engine_ = open("base");
    ASSERT_TRUE(engine_);
    const NumberClass c =
        expected_class(golden_.dtype, {.target = engine_->info().target, .f32_activations = true, .f32_kv = true});
    tolerance_ = c == NumberClass::kF16Operands ? kl_threshold(c, golden_) : 1e-8;
  }

  std::string plan(const std::string& name) const { return g_options.plans + "/" + GetParam() + "/" + name + ".fb"; }

  std::unique_ptr<TestEngine> open(const std::string& name, int threads = 0, bool no_graphs = false) const {
    EngineSpec spec = g_options.engine;
    spec.no_graphs = no_graphs;
    spec.plan = plan(name);
    spec.model_dir = name == "embed" ? "" : g_options.models + "/" + GetParam();
    if (threads) spec.threads = threads;
    auto engine = TestEngine::open(spec);
    if (engine) return std::move(*engine);
    ADD_FAILURE() << engine.error().message;
    return nullptr;
  }

  // The golden's ids, beginning elsewhere.
  std::vector<int32_t> ids(size_t rotate, size_t count) const {
    std::vector<int32_t> out(count);
    for (size_t i = 0; i < count; ++i) out[i] = golden_.ids[(rotate + i) % golden_.ids.size()];
    return out;
  }

  std::vector<float> score(TestEngine& engine, const std::vector<int32_t>& ids, size_t chunk, int32_t slot = 0) const {
    auto logits = engine.score(ids, chunk, slot);
    if (logits) return std::move(*logits);
    ADD_FAILURE() << logits.error().message;
    return {};
  }

  std::vector<float> step(TestEngine& engine, const std::vector<StepSequence>& sequences) const {
    auto logits = engine.step(sequences);
    if (logits) return std::move(*logits);
    ADD_FAILURE() << logits.error().message;
    return {};
  }

  std::span<const float> row(const std::vector<float>& logits, size_t r) const {
    return std::span(logits).subspan(r * golden_.vocab, golden_.vocab);
  }

  void expect_close(std::span<const float> expected, std::span<const float> actual, const std::string& what) {
    ASSERT_EQ(expected.size(), actual.size()) << what;
    const double furthest = near_tie(tolerance_);
    const Comparison c = compare(expected, actual, golden_.vocab, furthest);
    double difference = 0;
    for (size_t i = 0; i < expected.size(); ++i)
      difference = std::max<double>(difference, std::abs(expected[i] - actual[i]));
    EXPECT_LE(c.mean_kl, tolerance_) << what;
    EXPECT_EQ(c.wrong_top1, 0u) << what;
    EXPECT_LE(difference, furthest) << what;
    largest_kl_ = std::max(largest_kl_, c.mean_kl);
    largest_difference_ = std::max(largest_difference_, difference);
  }

  void expect_same_bits(const std::vector<float>& expected, const std::vector<float>& actual, const std::string& what) {
    ASSERT_EQ(expected.size(), actual.size()) << what;
    ASSERT_FALSE(expected.empty()) << what;
    size_t different = 0;
    for (size_t i = 0; i < expected.size(); ++i) different += expected[i] != actual[i];
    EXPECT_EQ(different, 0u) << what << ": of " << expected.size() << " logits";
  }

  void TearDown() override {
    if (largest_difference_ > 0)
      std::printf("    mean KL %.1e, largest difference %.1e\n", largest_kl_, largest_difference_);
  }

  Golden golden_;
  std::unique_ptr<TestEngine> engine_;
  double tolerance_ = 0, largest_kl_ = 0, largest_difference_ = 0;
};

TEST_P(Metamorphic, WholePrefillChunksAndDecodeStepsAgree) {
  const std::vector<float> whole = score(*engine_, golden_.ids, 0);
  for (size_t chunk : {64, 16, 7, 5, 3, 2, 1})
    expect_close(whole, score(*engine_, golden_.ids, chunk), "chunks of " + std::to_string(chunk));
}

TEST_P(Metamorphic, ReloadedPlanGivesTheSameBits) {
  for (size_t chunk : {0, 7, 1}) {
    const std::vector<float> first = score(*engine_, golden_.ids, chunk);
    expect_same_bits(first, score(*engine_, golden_.ids, chunk), "run again");
    expect_same_bits(first, score(*open("base"), golden_.ids, chunk), "loaded again");
  }
}

TEST_P(Metamorphic, LaunchesOneByOneGiveTheSameBits) {
  const auto without_graphs = open("base", 0, true);
  for (size_t chunk : {0, 1}) {
    expect_same_bits(score(*engine_, golden_.ids, chunk), score(*without_graphs, golden_.ids, chunk), "without graphs");
  }
}

TEST_P(Metamorphic, ThreadCountsGiveTheSameBits) {
  if (g_options.engine.device.starts_with("cuda")) GTEST_SKIP() << "CPU only";
  for (size_t chunk : {0, 7, 1}) {
    const std::vector<float> one = score(*open("base", 1), golden_.ids, chunk);
    for (int threads : {2, 5})
      expect_same_bits(one, score(*open("base", threads), golden_.ids, chunk), std::to_string(threads) + " threads");
  }
}

TEST_P(Metamorphic, EmbeddedWeightsGiveTheSameBits) {
  if (!plan_has_target(plan("embed"))) GTEST_SKIP() << "no embedded plan for this target";
  for (size_t chunk : {0, 1}) {
    expect_same_bits(score(*engine_, golden_.ids, chunk), score(*open("embed"), golden_.ids, chunk), "embedded");
  }
}

TEST_P(Metamorphic, EverySlotGivesTheSameBits) {
  const std::vector<float> first = score(*engine_, golden_.ids, 16);
  for (int32_t slot = 1; slot < static_cast<int32_t>(engine_->info().max_batch); ++slot)
    expect_same_bits(first, score(*engine_, golden_.ids, 16, slot), "slot " + std::to_string(slot));
  // A new sequence sees nothing of the one that had its slot.
  score(*engine_, ids(17, 100), 0, 0);
  expect_same_bits(first, score(*engine_, golden_.ids, 16, 0), "slot used before");
}

TEST_P(Metamorphic, BatchOfAnySizeAgreesWithOneByOne) {
  const size_t prompt = 20, decodes = 6;
  ASSERT_NE(engine_->info().max_batch % 5, 0u) << "5 i + 3 is to be a permutation of the slots";
  for (size_t batch = 2; batch <= engine_->info().max_batch; ++batch) {
    std::vector<std::vector<float>> alone;
    std::vector<StepSequence> sequences;
    for (size_t i = 0; i < batch; ++i) {
      const size_t tokens = prompt + i;  // ragged
      alone.push_back(score(*engine_, ids(11 * i, tokens + decodes), 0));
      StepSequence s;
      s.slot = static_cast<int32_t>((5 * i + 3) % engine_->info().max_batch);
      s.ids = ids(11 * i, tokens), s.logit_rows = {static_cast<int32_t>(tokens) - 1};
      sequences.push_back(std::move(s));
    }
    for (size_t d = 0; d <= decodes; ++d) {
      const std::vector<float> together = step(*engine_, sequences);
      for (size_t i = 0; i < batch; ++i)
        expect_close(row(alone[i], prompt + i + d - 1), row(together, i),
                     "sequence " + std::to_string(i) + " of " + std::to_string(batch) + ", step " + std::to_string(d));
      for (size_t i = 0; i < batch; ++i) {
        const auto position = static_cast<int32_t>(prompt + i + d);
        sequences[i].first_position = position;
        sequences[i].ids = {ids(11 * i, static_cast<size_t>(position) + 1).back()};
        sequences[i].logit_rows = {0};
      }
    }
  }
}

// A decode, a chunk in the middle of a prompt, a whole new prompt, a check of drafted tokens, all in one step, rows in
// any order.
TEST_P(Metamorphic, MixedStepAgreesWithOneByOne) {
  struct Part {
    int32_t slot;
    size_t rotate, computed, tokens;
    std::vector<int32_t> rows;
  };
  const std::vector<Part> parts = {{5, 0, 30, 1, {0}},           {0, 9, 20, 17, {16, 0, 8}}, {7, 40, 0, 25, {24}},
                                   {2, 77, 60, 4, {0, 1, 2, 3}}, {1, 21, 0, 1, {0}},         {6, 63, 100, 1, {0}}};
  std::vector<StepSequence> before, mixed;
  std::vector<std::vector<float>> alone;
  for (const Part& p : parts) {
    const std::vector<int32_t> all = ids(p.rotate, p.computed + p.tokens);
    alone.push_back(score(*engine_, all, 0));
    StepSequence s;
    s.slot = p.slot, s.first_position = static_cast<int32_t>(p.computed);
    s.ids.assign(all.begin() + static_cast<int64_t>(p.computed), all.end());
    s.logit_rows = p.rows;
    mixed.push_back(s);
  }
  for (const Part& p : parts)
    if (p.computed) score(*engine_, ids(p.rotate, p.computed), 0, p.slot);
  const std::vector<float> logits = step(*engine_, mixed);
  size_t r = 0;
  for (size_t i = 0; i < parts.size(); ++i)
    for (int32_t wanted : parts[i].rows)
      expect_close(row(alone[i], parts[i].computed + static_cast<size_t>(wanted)), row(logits, r++),
                   "part " + std::to_string(i) + ", row " + std::to_string(wanted));
}

TEST_P(Metamorphic, DisabledPassesGiveTheSameNumbers) {
  const std::vector<float> whole = score(*engine_, golden_.ids, 0), steps = score(*engine_, golden_.ids, 1);
  size_t plans = 0;
  for (const auto& entry : std::filesystem::directory_iterator(g_options.plans + "/" + GetParam())) {
    const std::string name = entry.path().stem().string();
    if (!name.starts_with("without-") || !plan_has_target(entry.path().string())) continue;
    ++plans;
    const auto engine = open(name);
    ASSERT_TRUE(engine);
    expect_close(whole, score(*engine, golden_.ids, 0), name);
    expect_close(whole, score(*engine, golden_.ids, 7), name + ", chunks of 7");
    expect_close(steps, score(*engine, golden_.ids, 1), name + ", decode steps");
  }
  if (plans == 0) GTEST_SKIP() << "no plans with disabled passes for this target";
}

TEST_P(Metamorphic, RequestsTogetherGiveTheIdsOfOneByOne) {
  std::vector<std::vector<int32_t>> prompts;
  for (size_t i = 0; i < 2 * engine_->info().max_batch + 3; ++i) prompts.push_back(ids(7 * i, 3 + 5 * i % 60));
  const auto together = engine_->generate(prompts, 24);
  ASSERT_TRUE(together) << together.error().message;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const auto alone = engine_->generate({prompts[i]}, 24);
    ASSERT_TRUE(alone) << alone.error().message;
    EXPECT_EQ((*alone)[0].size(), 24u);
    EXPECT_EQ((*alone)[0], (*together)[i]) << "prompt " << i;
  }
}

// --- Ids fed forward on the device ----------------------------------------------------------------------------------

// Greedy decoding of a few sequences at once, with sampled ids read back by the host and sent again, or left on the
// device.
class DecodeLoop {
 public:
  DecodeLoop(llmrt::Engine& engine, const std::vector<std::vector<int32_t>>& prompts)
      : engine_(engine), kv_(engine.plan(), engine.memory().kv_blocks), prompts_(prompts) {}

  llm::Result<std::vector<std::vector<int32_t>>> run(size_t steps, bool feed_on_device) {
    std::vector<std::vector<int32_t>> outputs(prompts_.size());
    std::vector<uint32_t> numbers;
    for (size_t n = 0; n < steps; ++n) {
      llmrt::StepInput in;
      // The rows change places from step to step, so that -1-j is not always the own row.
      for (size_t k = 0; k < prompts_.size(); ++k) {
        const size_t i = (k + n) % prompts_.size();
        const int32_t last_row = static_cast<int32_t>((k + 1) % prompts_.size());
        if (n == 0)
          add(in, i, prompts_[i], 0);
        else
          add(in, i, {feed_on_device ? -1 - last_row : outputs[i].back()},
              static_cast<int32_t>(prompts_[i].size() + n - 1));
      }
      LLM_ASSIGN(const uint32_t number, engine_.submit(in));
      if (!feed_on_device) LLM_TRY(collect(number, n, outputs));
      numbers.push_back(number);
    }
    if (feed_on_device)
      for (size_t n = 0; n < steps; ++n) LLM_TRY(collect(numbers[n], n, outputs));
    return outputs;
  }

 private:
  void add(llmrt::StepInput& in, size_t sequence, const std::vector<int32_t>& tokens, int32_t first) {
    const auto slot = static_cast<int32_t>(sequence);
    if (first == 0) kv_.release(slot);
    add_sequence(in, slot, tokens, first);
    in.logit_rows.push_back(static_cast<int32_t>(in.tokens.size()) - 1);
    llm_abi::SampleParams p{};
    p.repetition_penalty = 1, p.top_p = 1, p.slot = slot, p.token_row = in.logit_rows.back(),
    p.position = in.kv_len.back();
    in.sampling.push_back(p);
    kv_.reserve(slot, static_cast<uint64_t>(in.kv_len.back()), in.block_updates);
  }

  llm::Status collect(uint32_t number, size_t step, std::vector<std::vector<int32_t>>& outputs) {
    LLM_TRY(engine_.wait(number));
    const auto samples = engine_.samples(number);
    for (size_t k = 0; k < prompts_.size(); ++k) {
      if (samples[k].step != static_cast<int32_t>(number)) return llm::Error{"the ring holds another step"};
      outputs[(k + step) % prompts_.size()].push_back(samples[k].id);
    }
    return {};
  }

  llmrt::Engine& engine_;
  llmrt::KvCache kv_;
  std::vector<std::vector<int32_t>> prompts_;
};

TEST_P(Metamorphic, IdsFedOnTheDeviceEqualIdsFromTheHost) {
  auto file = llm::PlanFile::open(plan("base"));
  ASSERT_TRUE(file) << file.error().message;
  const EngineSpec& spec = g_options.engine;
  llmrt::EngineOptions options;
  options.device = {spec.device, spec.target, spec.force_ptx, spec.threads, false};
  options.model_dir = g_options.models + "/" + GetParam();
  auto engine = llmrt::Engine::load(*file, options);
  ASSERT_TRUE(engine) << engine.error().message;
  // As many steps as the ring keeps.
  const size_t steps = std::min<uint64_t>((*file)->index().limits->ring_entries, 24);
  DecodeLoop loop(**engine, {ids(0, 12), ids(50, 12), ids(31, 12)});
  const auto host = loop.run(steps, false), device = loop.run(steps, true);
  ASSERT_TRUE(host) << host.error().message;
  ASSERT_TRUE(device) << device.error().message;
  EXPECT_EQ(*host, *device);
  EXPECT_NE((*host)[0], (*host)[1]);
}

INSTANTIATE_TEST_SUITE_P(Models, Metamorphic, testing::Values("qwen3", "qwen2_window"),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace llmrt_test

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  auto& o = llmrt_test::g_options;
  CLI::App app{"Compares plans with themselves"};
  app.add_option("--plans", o.plans, "Folder of NAME/base.fb and others")->required();
  app.add_option("--models", o.models, "Folder of the model folders NAME")->required();
  app.add_option("--goldens", o.goldens, "Folder of NAME.json and NAME.npy")->required();
  app.add_option("--device", o.engine.device, "auto, cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--target", o.engine.target, "Target of the plans (default: the best that runs)");
  app.add_flag("--ptx", o.engine.force_ptx, "CUDA: run the target's PTX");
  app.add_option("--threads", o.engine.threads, "CPU threads");
  CLI11_PARSE(app, argc, argv);
  return RUN_ALL_TESTS();
}
