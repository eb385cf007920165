// Paces: their tables, and what a prediction makes of them. How good predictions are: e2e.cost_model.
#include <gtest/gtest.h>

#include <string>

#include "passes/KernelCost.h"
#include "passes/KernelTable.h"

namespace llmc {
namespace {

using llm::ScalarType;

const Target& target(const char* name) { return **find_target(name, nullptr); }

KernelShape linear_add(int64_t rows, int64_t cols, int64_t k) {
  return {.family = "linear_add",
          .weight = ScalarType::kBF16,
          .operand = ScalarType::kBF16,
          .kv = {},
          .rows = rows,
          .cols = cols,
          .k = k,
          .bytes = static_cast<double>(cols * k * 2 + rows * (k * 2 + cols * 10)),
          .flops = 2.0 * static_cast<double>(rows * cols * k)};
}

double us(const char* variant, const KernelShape& s) {
  return predict_us(target("sm_90"), *find_variant(TargetKind::kCuda, s.family, variant), s);
}

TEST(Paces, EveryRowIsOfAVariantThatTheTargetRuns) {
  for (const Target& t : all_targets()) {
    for (const KernelPace& row : paces_of(t)) {
      SCOPED_TRACE(std::string(t.name) + " " + std::string(row.family) + " " + std::string(row.variant));
      bool found = false;
      for (const llm::Variant& v : all_variants(t.kind))
        found |= find_pace(t, v) == &row.pace && (v.needs & ~t.features) == 0;
      EXPECT_TRUE(found);
      EXPECT_GE(row.pace.at_once, 1);
      EXPECT_GT(row.pace.alone_us, 0);
      for (const double number : {row.pace.busy_us, row.pace.tile_us, row.pace.group_columns, row.pace.row_us}) EXPECT_GE(number, 0);
    }
  }
}

TEST(Paces, BothTypesOf16BitsAndNoOtherTarget) {
  const llm::Variant *f16 = find_variant(TargetKind::kCuda, "linear_add", "stream_f16_r8"),
                     *bf16 = find_variant(TargetKind::kCuda, "linear_add", "stream_bf16_r8"),
                     *naive = find_variant(TargetKind::kCuda, "linear_add", "naive");
  EXPECT_NE(find_pace(target("sm_90"), *f16), nullptr);
  EXPECT_EQ(find_pace(target("sm_90"), *f16), find_pace(target("sm_90"), *bf16));
  EXPECT_EQ(find_pace(target("sm_90"), *naive), nullptr);
  EXPECT_EQ(find_pace(target("sm_89"), *bf16), nullptr);
}

// A ring for three units that gets one more passes over K again for it.
TEST(Paces, AUnitMoreThanARingHoldsTakesAPass) {
  const int64_t units = target("sm_90").units;
  const double three = us("stream_bf16_r8_u3", linear_add(4, 3 * 16 * units, 8192)), four = us("stream_bf16_r8_u3", linear_add(4, 4 * 16 * units, 8192)),
               five = us("stream_bf16_r8_u3", linear_add(4, 5 * 16 * units, 8192));
  EXPECT_GT(four / three, 4.0 / 3);
  EXPECT_LT((five - four) / five, 0.05);  // the second pass has a unit beside it for little
}

// Half of the SMs take as long as all of them, and a tile more than there are SMs twice as long.
TEST(Paces, TilesComeInWaves) {
  const double half = us("wgmma_bf16_128x128", linear_add(11 * 128, 6 * 128, 4096)),
               full = us("wgmma_bf16_128x128", linear_add(11 * 128, 12 * 128, 4096)),
               more = us("wgmma_bf16_128x128", linear_add(11 * 128, 13 * 128, 4096));
  EXPECT_LT(full, 1.35 * half);
  EXPECT_GT(more, 1.7 * full);
}

// Between families, shares decide: a family of which nothing was measured would win by what its rows leave out.
TEST(CheapestUs, KnowsNoPaces) {
  const KernelShape s = linear_add(4, 2048, 8192);
  const auto cheapest = cheapest_us(target("sm_90"), s);
  ASSERT_TRUE(cheapest);
  EXPECT_LT(*cheapest, choose_kernel(target("sm_90"), s, "")->best.us);
  const auto elsewhere = cheapest_us(target("sm_80"), s);
  ASSERT_TRUE(elsewhere);
  EXPECT_DOUBLE_EQ(*elsewhere, choose_kernel(target("sm_80"), s, "")->best.us);
  EXPECT_FALSE(cheapest_us(target("sm_90"), {.family = "conv", .weight = {}, .operand = {}, .kv = {}}));
}

}  // namespace
}  // namespace llmc
