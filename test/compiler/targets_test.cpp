// The target table and how a name finds its row.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "compiler/targets/target.h"
#include "plan/cpu_features.h"

namespace llmc {
namespace {

using testing::HasSubstr;

TEST(Targets, EveryRowIsFoundByItsName) {
  std::set<std::string> names;
  for (const Target& t : all_targets()) {
    std::string warning;
    const auto found = find_target(t.name, &warning);
    ASSERT_TRUE(found) << t.name;
    EXPECT_EQ(*found, &t);
    EXPECT_EQ(warning, "");
    EXPECT_TRUE(names.insert(t.name).second) << t.name << " is listed twice";
  }
  for (const char* name : {"sm_60", "sm_61", "sm_70", "sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120",
                           "x86-64-v3", "x86-64-v4", "x86-64-v4-bf16", "x86-64-amx"})
    EXPECT_TRUE(names.count(name)) << name;
}

TEST(Targets, RowsAreConsistent) {
  for (const Target& t : all_targets()) {
    SCOPED_TRACE(t.name);
    const bool cuda = t.kind == TargetKind::kCuda;
    EXPECT_EQ(cuda, t.cc > 0);
    EXPECT_GT(t.bandwidth_gb_s, 0);
    EXPECT_GT(t.fp32_tflops, 0);
    EXPECT_GT(t.units, 0);
    EXPECT_GT(t.l2_kib, 0);
    if (cuda) {
      EXPECT_GE(t.shared_bytes, 48 * 1024);
      EXPECT_EQ(std::string(t.name), "sm_" + std::to_string(t.cc));
      EXPECT_EQ(t.features & (llm::kAvx2 | llm::kAvx512), 0u);
    } else {
      EXPECT_TRUE(t.features & llm::kAvx2);
    }
    // Operands are narrow only where matrix units take them.
    EXPECT_EQ(t.f16_operand == llm::ScalarType::kF16, cuda && (t.features & llm::kTensorF16));
    EXPECT_EQ(t.bf16_operand == llm::ScalarType::kBF16, (t.features & (cuda ? llm::kTensorBF16 : llm::kAmxBf16)) != 0);
    EXPECT_TRUE(!cuda || (t.matrix_tflops > 0) == ((t.features & llm::kTensorF16) != 0));
  }
}

TEST(Targets, FeaturesGrowWithinAFamily) {
  const auto features = [](const char* name) { return (*find_target(name, nullptr))->features; };
  const auto includes = [&](const char* newer, const char* older) { return (features(older) & ~features(newer)) == 0; };
  EXPECT_TRUE(includes("sm_75", "sm_70"));
  EXPECT_TRUE(includes("sm_80", "sm_75"));
  EXPECT_TRUE(includes("sm_89", "sm_86"));
  EXPECT_TRUE(includes("sm_90", "sm_89"));
  EXPECT_FALSE(features("sm_60") & llm::kDp4a);
  EXPECT_TRUE(includes("x86-64-v4", "x86-64-v3"));
  EXPECT_TRUE(includes("x86-64-v4-bf16", "x86-64-v4"));
  EXPECT_TRUE(includes("x86-64-amx", "x86-64-v4-bf16"));
}

TEST(Targets, NativeRunsHere) {
  const auto native = find_target("native", nullptr);
  if (!native) {
    EXPECT_THAT(native.error().message, HasSubstr("does not reach x86-64-v3"));
    GTEST_SKIP() << native.error().message;
  }
  EXPECT_EQ((*native)->kind, TargetKind::kX86);
  EXPECT_EQ((*native)->features & ~llm::cpu_features(), 0u);
}

TEST(Targets, UnknownNewerCardTakesTheNearestOlderRow) {
  const std::pair<const char*, const char*> cases[] = {{"sm_62", "sm_61"},   {"sm_72", "sm_70"},
                                                       {"sm_87", "sm_86"},   {"sm_103", "sm_100"},
                                                       {"sm_121", "sm_120"}, {"sm_999", "sm_120"}};
  for (const auto& [name, row] : cases) {
    std::string warning;
    const auto found = find_target(name, &warning);
    ASSERT_TRUE(found) << name;
    EXPECT_STREQ((*found)->name, row);
    EXPECT_EQ(warning,
              "target '" + std::string(name) + "' has no row of its own; using " + row + ", the nearest older one");
  }
  std::string warning;
  EXPECT_STREQ((*find_target("sm_90a", &warning))->name, "sm_90");
  EXPECT_EQ(warning, "");
}

TEST(Targets, UnknownNamesListTheKnownOnes) {
  for (const char* name :
       {"", "sm_", "sm_13", "sm_-61", "sm_61 ", "sm_6x", "sm_99999999999", "avx2", "x86-64", "SM_61"}) {
    const auto found = find_target(name, nullptr);
    ASSERT_FALSE(found) << name;
    EXPECT_THAT(found.error().message,
                HasSubstr("unknown target '" + std::string(name) + "'; known targets: sm_60, sm_61, "));
    EXPECT_THAT(found.error().message, HasSubstr(", native"));
  }
}

TEST(Targets, Lists) {
  const auto two = parse_target_list("sm_61,x86-64-v3", nullptr);
  ASSERT_TRUE(two);
  ASSERT_EQ(two->size(), 2u);
  EXPECT_STREQ((*two)[0]->name, "sm_61");
  EXPECT_STREQ((*two)[1]->name, "x86-64-v3");
  const auto twice = parse_target_list("sm_61,sm_80,sm_61", nullptr);
  ASSERT_FALSE(twice);
  EXPECT_EQ(twice.error().message, "target 'sm_61' is listed twice");
  // Two names of one row are the same target.
  EXPECT_FALSE(parse_target_list("sm_90,sm_90a", nullptr));
  EXPECT_FALSE(parse_target_list("sm_61,", nullptr));
  EXPECT_FALSE(parse_target_list("", nullptr));
}

TEST(Targets, FeatureNames) {
  EXPECT_EQ(feature_names(0), "");
  EXPECT_EQ(feature_names(llm::kDp4a | llm::kCpAsync), "dp4a, cp.async");
  for (const Target& t : all_targets()) EXPECT_NE(feature_names(t.features), "") << t.name;
}

}  // namespace
}  // namespace llmc
