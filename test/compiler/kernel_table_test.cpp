// The variant tables, and the choice among variants.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "compiler/codegen/kernel_sources.h"
#include "passes/KernelTable.h"

namespace llmc {
namespace {

using llm::ScalarType;
using testing::HasSubstr;

const Target& target(const char* name) { return **find_target(name, nullptr); }

const EmbeddedText* source(std::string_view name) {
  for (const EmbeddedText& s : kernel_sources())
    if (s.name == name) return &s;
  return nullptr;
}

KernelShape linear(int64_t rows, ScalarType operand = ScalarType::kF32) {
  return {.family = "linear",
          .weight = ScalarType::kBF16,
          .operand = operand,
          .kv = {},
          .rows = rows,
          .cols = 4096,
          .k = 4096,
          .bytes = 4096.0 * 4096 * 2 + static_cast<double>(rows) * 8192 * 4,
          .flops = 2.0 * 4096 * 4096 * static_cast<double>(rows)};
}

class EveryTable : public testing::TestWithParam<TargetKind> {};

TEST_P(EveryTable, NamesAreUniqueIdentifiersWithinAFamily) {
  std::set<std::string> names;
  for (const llm::Variant& v : all_variants(GetParam())) {
    EXPECT_TRUE(names.insert(std::string(v.family) + "/" + v.name).second) << v.family << " " << v.name;
    for (const char c : std::string(v.family) + v.name + v.body)
      EXPECT_TRUE(std::isalnum(static_cast<unsigned char>(c)) || c == '_') << v.name;
  }
}

TEST_P(EveryTable, FamiliesHaveArgumentStructs) {
  const std::string abi(source("abi.h")->text);
  for (const llm::Variant& v : all_variants(GetParam())) {
    const std::string name = args_struct(v.family);
    ASSERT_NE(name, "") << v.family;
    EXPECT_THAT(abi, HasSubstr("struct " + name + " {"));
  }
}

TEST_P(EveryTable, FilesAndBodiesExistInTheEmbeddedSources) {
  for (const llm::Variant& v : all_variants(GetParam())) {
    if (v.external) continue;
    const EmbeddedText* file = source(v.file);
    ASSERT_TRUE(file) << v.file;
    EXPECT_THAT(std::string(file->text),
                HasSubstr(std::string(" ") + v.body + "(const " + args_struct(v.family) + "&"));
  }
}

TEST_P(EveryTable, NumbersArePlausible) {
  for (const llm::Variant& v : all_variants(GetParam())) {
    SCOPED_TRACE(std::string(v.family) + " " + v.name);
    EXPECT_GE(v.threads, 1);
    EXPECT_LE(v.threads, 1024);
    EXPECT_GE(v.shared_bytes, 0);
    EXPECT_GE(v.tile_rows, 0);
    EXPECT_GE(v.tile_cols, 0);
    EXPECT_GE(v.min_rows, 0);
    EXPECT_TRUE(v.max_rows == 0 || v.min_rows <= v.max_rows);
    EXPECT_GE(v.k_multiple, 1);
    EXPECT_GT(v.bandwidth_share, 0);
    EXPECT_LE(v.bandwidth_share, 1);
    EXPECT_GT(v.compute_share, 0);
    // A dot product of four int8 values is one instruction; tensor cores multiply fp8 at twice the rate of 16 bits.
    EXPECT_LE(v.compute_share, v.needs & llm::kFp8 ? 2 : v.int8_group ? 4 : 1);
    EXPECT_TRUE(GetParam() == TargetKind::kCuda || v.shared_bytes == 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, EveryTable, testing::Values(TargetKind::kCuda, TargetKind::kX86),
                         [](const auto& info) { return info.param == TargetKind::kCuda ? "Cuda" : "X86"; });

// Whatever a model asks for, every target has a kernel: every family, type, head dimension and number of rows.
TEST(ChooseKernel, EveryTargetServesEveryCombination) {
  constexpr ScalarType kTypes[] = {ScalarType::kF32, ScalarType::kF16, ScalarType::kBF16};
  for (const Target& t : all_targets()) {
    for (const int64_t rows : {1, 2, 3, 8, 16, 17, 64, 512, 4096}) {
      for (const char* family : {"prepare", "gather_rows", "add", "silu", "rope_table", "rope", "sample", "advance"}) {
        const auto choice = choose_kernel(
            t, {.family = family, .weight = {}, .operand = {}, .kv = {}, .head_dim = 72, .rows = rows}, "");
        EXPECT_TRUE(choice) << choice.error().message;
      }
      for (ScalarType weight : kTypes) {
        std::vector<ScalarType> operands = {ScalarType::kF32};
        const ScalarType narrow = weight == ScalarType::kF16    ? t.f16_operand
                                  : weight == ScalarType::kBF16 ? t.bf16_operand
                                                                : ScalarType::kF32;
        if (narrow != ScalarType::kF32) operands.push_back(narrow);
        const auto embed =
            choose_kernel(t, {.family = "embed", .weight = weight, .operand = {}, .kv = {}, .rows = rows}, "");
        EXPECT_TRUE(embed) << embed.error().message;
        for (ScalarType operand : operands) {
          for (const char* family : {"linear", "rms_norm", "add_rms_norm", "glu", "mul"}) {
            KernelShape shape{
                .family = family, .weight = weight, .operand = operand, .kv = {}, .rows = rows, .cols = 96, .k = 72};
            const auto choice = choose_kernel(t, shape, "");
            EXPECT_TRUE(choice) << choice.error().message;
          }
          for (const int64_t head_dim : {8, 32, 64, 72, 80, 96, 112, 128, 160, 192, 256}) {
            for (ScalarType kv : kTypes) {
              for (const char* family : {"attention", "rope_kv_write", "kv_write"}) {
                KernelShape shape{.family = family,
                                  .weight = weight,
                                  .operand = operand,
                                  .kv = kv,
                                  .head_dim = head_dim,
                                  .rows = rows,
                                  .cols = 8};
                const auto choice = choose_kernel(t, shape, "");
                EXPECT_TRUE(choice) << choice.error().message;
              }
            }
          }
        }
      }
    }
  }
}

TEST(ChooseKernel, TheCheapestWinsAndTheNextIsKept) {
  for (const Target& t : all_targets()) {
    for (const int64_t rows : {1, 4, 16, 512}) {
      const auto choice = choose_kernel(t, linear(rows), "");
      ASSERT_TRUE(choice);
      EXPECT_DOUBLE_EQ(choice->best.us, predict_us(t, *choice->best.variant, linear(rows)));
      ASSERT_TRUE(choice->runner_up.variant);
      EXPECT_NE(choice->best.variant, choice->runner_up.variant);
      EXPECT_LE(choice->best.us, choice->runner_up.us);
      EXPECT_GE(choice->best.us, t.launch_us);
      // Never the reference where there is something better.
      EXPECT_STRNE(choice->best.variant->name, "naive") << t.name << " " << rows;
    }
  }
}

TEST(ChooseKernel, ForcedVariantsAndTheirLimits) {
  const auto naive = choose_kernel(target("sm_61"), linear(1), "naive");
  ASSERT_TRUE(naive);
  EXPECT_STREQ(naive->best.variant->name, "naive");
  EXPECT_EQ(naive->runner_up.variant, nullptr);
  const auto unknown = choose_kernel(target("sm_61"), linear(3), "fastest");
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().message,
            "target sm_61 has no linear kernel named 'fastest' for weights bf16, operands float, 3 rows");
  const auto family = choose_kernel(target("x86-64-v3"), {.family = "conv", .weight = {}, .operand = {}, .kv = {}}, "");
  ASSERT_FALSE(family);
  EXPECT_EQ(family.error().message, "target x86-64-v3 has no conv kernel for 1 rows");
}

// A forced variant is refused where it cannot run, whatever the reason.
TEST(ChooseKernel, NoVariantRunsWhereItCannot) {
  for (const Target& t : all_targets()) {
    for (const llm::Variant& v : all_variants(t.kind)) {
      if (std::string_view(v.family) != "linear") continue;
      for (const int64_t rows : {1, 16, 512}) {
        const auto choice = choose_kernel(t, linear(rows), v.name);
        if (!choice) continue;
        EXPECT_EQ(v.needs & ~t.features, 0u) << t.name << " " << v.name;
        EXPECT_TRUE(v.weight_types & llm::kBF16Bit) << v.name;
        EXPECT_TRUE(v.operand_types & llm::kF32Bit) << v.name;
        EXPECT_FALSE(v.external) << v.name;  // bf16 weights and float32 operands: not one type
        EXPECT_GE(rows, v.min_rows) << v.name;
        EXPECT_TRUE(v.max_rows == 0 || rows <= v.max_rows) << v.name;
        EXPECT_LE(v.shared_bytes, std::max(t.shared_bytes, 48 * 1024)) << t.name << " " << v.name;
      }
    }
  }
  EXPECT_FALSE(choose_kernel(target("x86-64-v3"), linear(8), "rows8"));  // AVX-512
  EXPECT_TRUE(choose_kernel(target("x86-64-v4"), linear(8), "rows8"));
}

TEST(ChooseKernel, CostGrowsWithWork) {
  for (const Target& t : all_targets()) {
    for (const llm::Variant& v : all_variants(t.kind)) {
      if (std::string_view(v.family) != "linear") continue;
      EXPECT_LE(predict_us(t, v, linear(64)), predict_us(t, v, linear(1024))) << t.name << " " << v.name;
    }
  }
}

TEST(KernelNames, InstanceAndEntry) {
  const auto row1 = choose_kernel(target("x86-64-v3"), linear(1), "row1");
  ASSERT_TRUE(row1);
  EXPECT_EQ(instance_name(*row1->best.variant, linear(1)), "linear_rows<bf16, float, 1, 4>");
  EXPECT_EQ(entry_name(*row1->best.variant, linear(1)), "linear_row1__w_bf16__x_float");
  const KernelShape attention{
      .family = "attention", .weight = {}, .operand = ScalarType::kF16, .kv = ScalarType::kF16, .head_dim = 128};
  const auto decode = choose_kernel(target("sm_61"), attention, "decode");
  ASSERT_TRUE(decode) << decode.error().message;
  EXPECT_THAT(instance_name(*decode->best.variant, attention), HasSubstr("<f16, f16, 128"));
  EXPECT_EQ(entry_name(*decode->best.variant, attention), "attention_decode__x_f16__kv_f16__d128");
  const auto advance = choose_kernel(target("sm_61"), {.family = "advance", .weight = {}, .operand = {}, .kv = {}}, "");
  ASSERT_TRUE(advance);
  EXPECT_EQ(instance_name(*advance->best.variant, {}), "advance");
  EXPECT_EQ(args_struct("no_such_family"), "");
}

TEST(KernelSources, AreSortedUniqueAndComplete) {
  std::set<std::string_view> names;
  for (const EmbeddedText& s : kernel_sources()) {
    EXPECT_TRUE(names.insert(s.name).second) << s.name;
    EXPECT_FALSE(s.text.empty()) << s.name;
    EXPECT_NE(s.name.front(), '/') << s.name;
  }
  // What a source includes is embedded as well.
  for (const EmbeddedText& s : kernel_sources()) {
    for (size_t at = 0; (at = s.text.find("#include \"", at)) != std::string_view::npos;) {
      at += 10;
      const std::string_view included = s.text.substr(at, s.text.find('"', at) - at);
      EXPECT_TRUE(names.count(included)) << s.name << " includes " << included;
    }
  }
}

}  // namespace
}  // namespace llmc
