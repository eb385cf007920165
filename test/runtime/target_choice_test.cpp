#include "runtime/target_choice.h"

#include <gtest/gtest.h>

#include "kernels_templates/variant.h"

namespace llmrt {
namespace {

namespace fb = llm::fb;
using namespace llm;  // Feature names

constexpr uint32_t kV4 = kAvx2 | kAvx512, kV4Bf16 = kV4 | kAvx512Vnni | kAvx512Bf16,
                   kAmx = kV4Bf16 | kAmxBf16 | kAmxInt8;

// Every x86 target, newest first, and one of CUDA.
fb::PlanT plan_of_all() {
  fb::PlanT plan;
  const auto add = [&](const char* name, uint32_t features, fb::TargetKind kind, uint32_t compute_capability) {
    auto target = std::make_unique<fb::TargetT>();
    target->name = name, target->features = features, target->kind = kind,
    target->compute_capability = compute_capability;
    plan.targets.push_back(std::move(target));
  };
  add("x86-64-amx", kAmx, fb::TargetKind::x86, 0);
  add("x86-64-v4-bf16", kV4Bf16, fb::TargetKind::x86, 0);
  add("x86-64-v4", kV4, fb::TargetKind::x86, 0);
  add("x86-64-v3", kAvx2, fb::TargetKind::x86, 0);
  add("sm_80", 0, fb::TargetKind::cuda, 80);
  return plan;
}

DeviceInfo processor(uint32_t features) {
  DeviceInfo info;
  info.kind = fb::TargetKind::x86, info.features = features;
  return info;
}

std::string best(uint32_t features) {
  const fb::PlanT plan = plan_of_all();
  const fb::TargetT* target = best_target(plan, processor(features));
  return target ? target->name : "none";
}

TEST(TargetChoice, TakesTheBestX86TargetThatRuns) {
  EXPECT_EQ(best(kAmx), "x86-64-amx");
  EXPECT_EQ(best(kV4Bf16), "x86-64-v4-bf16");
  EXPECT_EQ(best(kV4Bf16 | kAmxBf16), "x86-64-v4-bf16");  // one AMX feature of two
  EXPECT_EQ(best(kV4 | kAvx512Vnni), "x86-64-v4");
  EXPECT_EQ(best(kV4), "x86-64-v4");
  EXPECT_EQ(best(kAvx2), "x86-64-v3");
  EXPECT_EQ(best(0), "none");
}

TEST(TargetChoice, NamesWhatIsMissing) {
  const fb::PlanT plan = plan_of_all();
  EXPECT_EQ(missing_features(*plan.targets[0], processor(kV4Bf16)), "AMX bf16, AMX int8");
  EXPECT_EQ(missing_features(*plan.targets[2], processor(kAvx2)), "AVX-512");
  EXPECT_EQ(missing_features(*plan.targets[3], processor(kAvx2)), "");
}

}  // namespace
}  // namespace llmrt
