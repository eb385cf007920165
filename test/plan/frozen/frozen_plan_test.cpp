// Plans of earlier format versions, as they were written then: read, verified, and run. A failure means that plans
// which users have no longer work: see docs/plan-format.md, "Versions", before anything here is changed.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "plan/cpu_features.h"
#include "plan/key_file.h"
#include "plan/mapped_file.h"
#include "plan/plan_reader.h"
#include "test/runtime/test_engine.h"

namespace llmrt_test {
namespace {

constexpr double kTolerance = 1e-5;  // of logits of magnitude 5: the code is frozen too, so that only its host differs

std::vector<std::string> versions() {
  std::vector<std::string> list;
  for (const auto& entry : std::filesystem::directory_iterator(LLMC_FROZEN_PLANS))
    if (entry.path().extension() == ".fb") list.push_back(entry.path().stem().string());
  std::sort(list.begin(), list.end());
  return list;
}

class FrozenPlan : public testing::TestWithParam<std::string> {
 protected:
  static std::string file(const std::string& name) { return std::string(LLMC_FROZEN_PLANS) + "/" + name; }
  static std::string plan() { return file(GetParam() + ".fb"); }

  static nlohmann::json expected() {
    const auto text = llm::read_text_file(file(GetParam() + ".json"));
    EXPECT_TRUE(text) << text.error().message;
    return nlohmann::json::parse(text ? *text : "{}");
  }

  // Nothing where this processor is older than the plan's target.
  std::unique_ptr<TestEngine> engine() {
    const auto opened = llm::PlanFile::open(plan());
    EXPECT_TRUE(opened) << opened.error().message;
    if (!opened || ((*opened)->index().targets[0]->features & ~llm::cpu_features()) != 0) return nullptr;
    EngineSpec spec;
    spec.plan = plan(), spec.device = "cpu", spec.threads = 1;
    auto engine = TestEngine::open(spec);
    EXPECT_TRUE(engine) << engine.error().message;
    return engine ? std::move(*engine) : nullptr;
  }
};

TEST_P(FrozenPlan, IsReadInFull) {
  const auto opened = llm::PlanFile::open(plan());
  ASSERT_TRUE(opened) << opened.error().message;
  const llm::PlanHead& head = (*opened)->head();
  EXPECT_EQ(std::to_string(head.major) + "." + std::to_string(head.minor), GetParam());
  for (uint32_t i = 0; i < (*opened)->index().segments.size(); ++i) {
    const auto bytes = (*opened)->read(i);
    EXPECT_TRUE(bytes) << bytes.error().message;
  }
}

TEST_P(FrozenPlan, KeepsItsSignature) {
  const auto key = llm::read_public_key(file("frozen.pub"));
  ASSERT_TRUE(key) << key.error().message;
  const auto opened = llm::PlanFile::open(plan(), {&*key, 1});
  ASSERT_TRUE(opened) << opened.error().message;
  for (uint32_t i = 0; i < (*opened)->index().segments.size(); ++i) EXPECT_TRUE((*opened)->read(i)) << i;
}

TEST_P(FrozenPlan, GivesTheSameLogits) {
  const auto engine = this->engine();
  if (!engine) GTEST_SKIP() << "this processor does not run the plan's target";
  const nlohmann::json e = expected();
  const std::vector<float> logits = e.at("logits");
  for (size_t chunk : {size_t{0}, size_t{1}, size_t{5}}) {
    const auto found = engine->score(e.at("ids"), chunk);
    ASSERT_TRUE(found) << found.error().message;
    ASSERT_EQ(found->size(), logits.size());
    for (size_t i = 0; i < logits.size(); ++i)
      ASSERT_NEAR((*found)[i], logits[i], kTolerance) << "chunk " << chunk << ", " << i;
  }
}

TEST_P(FrozenPlan, GivesTheSameText) {
  const auto engine = this->engine();
  if (!engine) GTEST_SKIP() << "this processor does not run the plan's target";
  const nlohmann::json e = expected();
  const std::vector<int32_t> generated = e.at("generated");
  const auto found = engine->generate({e.at("ids")}, generated.size());
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->at(0), generated);
}

INSTANTIATE_TEST_SUITE_P(Versions, FrozenPlan, testing::ValuesIn(versions()), [](const auto& info) {
  std::string name = "v" + info.param;
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
});

}  // namespace
}  // namespace llmrt_test
