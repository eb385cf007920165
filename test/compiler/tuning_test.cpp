// Measured times: their text form, and what they overrule.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "passes/Tuning.h"

namespace llmc {
namespace {

using llm::ScalarType;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

const Target& target(const char* name) { return **find_target(name, nullptr); }

KernelShape linear(int64_t rows) {
  return {.family = "linear",
          .weight = ScalarType::kBF16,
          .operand = ScalarType::kF32,
          .kv = {},
          .rows = rows,
          .cols = 4096,
          .k = 4096,
          .bytes = 4096.0 * 4096 * 2,
          .flops = 2.0 * 4096 * 4096 * static_cast<double>(rows)};
}

constexpr const char* kLine = "sm_61 linear bf16 f32 - 0 1 4096 4096 1 33554432 33554432 0 naive 100.5";

llm::Result<Tuning> parse(const std::string& text) {
  std::vector<std::string> warnings;
  return Tuning::parse(text, "t.txt", warnings);
}

std::string refusal(const std::string& text) {
  const auto tuning = parse(text);
  return tuning ? "accepted" : tuning.error().message;
}

// The line with one of its columns replaced.
std::string with(size_t column, const std::string& word) {
  std::istringstream in(kLine);
  std::string line, old;
  for (size_t i = 0; in >> old; ++i) line += (i ? " " : "") + (i == column ? word : old);
  return refusal("llmc-tuning 1\n" + line + "\n");
}

TEST(Tuning, ReadsWhatItWrites) {
  Tuning written;
  written.add({"sm_61", "naive", linear(1), 100.5});
  written.add({"sm_90", "gemv_r1", linear(1), 3.25});
  KernelShape attention = linear(8);
  attention.family = "attention", attention.weight = {}, attention.kv = ScalarType::kF16, attention.head_dim = 128;
  attention.row_tile_bytes = 12345, attention.least_row_tiles = 8;
  written.add({"sm_90", "naive", attention, 1e6});
  const auto read = parse(written.text());
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->text(), written.text());
  EXPECT_DOUBLE_EQ(*read->us("sm_61", linear(1), "naive"), 100.5);
  EXPECT_DOUBLE_EQ(*read->us("sm_90", attention, "naive"), 1e6);
  EXPECT_THAT(read->text("sm_90"), AllOf(HasSubstr("gemv_r1 3.250\n"), Not(HasSubstr("sm_61"))));
  EXPECT_EQ(read->by_shape().size(), 3u);
}

TEST(Tuning, CountsForExactlyItsShape) {
  Tuning tuning;
  tuning.add({"sm_61", "naive", linear(1), 5});
  EXPECT_TRUE(tuning.us("sm_61", linear(1), "naive"));
  EXPECT_FALSE(tuning.us("sm_70", linear(1), "naive"));
  EXPECT_FALSE(tuning.us("sm_61", linear(2), "naive"));
  EXPECT_FALSE(tuning.us("sm_61", linear(1), "gemv_r1"));
  for (auto change : {+[](KernelShape& s) { s.cols = 1; }, +[](KernelShape& s) { s.k = 1; }, +[](KernelShape& s) { s.head_dim = 1; },
                      +[](KernelShape& s) { s.weight = ScalarType::kF16; }, +[](KernelShape& s) { s.operand = ScalarType::kF16; },
                      +[](KernelShape& s) { s.kv = ScalarType::kF16; }, +[](KernelShape& s) { s.least_row_tiles = 8; },
                      +[](KernelShape& s) { s.family = "linear_add"; }}) {
    KernelShape other = linear(1);
    change(other);
    EXPECT_FALSE(tuning.us("sm_61", other, "naive")) << shape_key("sm_61", other);
  }
}

TEST(Tuning, CommentsAndBlanksAreNothing) {
  const auto tuning = parse("llmc-tuning 1  # H200\r\n\n   # nothing\n\t" + std::string(kLine) + "   # slow\r\n");
  ASSERT_TRUE(tuning) << tuning.error().message;
  EXPECT_TRUE(tuning->us("sm_61", linear(1), "naive"));
  EXPECT_TRUE(parse("llmc-tuning 1")->empty());
}

TEST(Tuning, RefusesBadFilesWithTheirLine) {
  EXPECT_EQ(refusal(""), "tuning file 't.txt', line 1: expected 'llmc-tuning 1', found ''");
  EXPECT_THAT(refusal("llmc-plan 1\n"), HasSubstr("line 1: expected 'llmc-tuning 1', found 'llmc-plan 1'"));
  EXPECT_THAT(refusal("llmc-tuning 2\n"), HasSubstr("line 1: format version 2 is not the one of this compiler, 1"));
  EXPECT_THAT(refusal("llmc-tuning 1\n\nsm_61 linear\n"), HasSubstr("line 3: found 2 columns, expected 15: target family"));
  EXPECT_THAT(refusal(std::string("llmc-tuning 1\n") + kLine + "\n# x\n" + kLine), HasSubstr("line 4: the same was measured in line 2"));
  EXPECT_THAT(with(0, "sm_62"), HasSubstr("line 2: no target is named 'sm_62'"));
  EXPECT_THAT(with(2, "int8"), HasSubstr("weight is 'int8', expected f32, f16, bf16 or -"));
  EXPECT_THAT(with(3, "int8"), HasSubstr("operand is 'int8'"));
  EXPECT_THAT(with(4, "float"), HasSubstr("kv is 'float', expected f32, f16, bf16, int8 or -"));
  EXPECT_THAT(with(5, "-1"), HasSubstr("head_dim is '-1', expected a number from 0"));
  EXPECT_THAT(with(6, "0"), HasSubstr("rows is '0', expected a number from 1"));
  EXPECT_THAT(with(7, "4096.5"), HasSubstr("cols is '4096.5'"));
  EXPECT_THAT(with(8, "99999999999999999999"), HasSubstr("k is"));
  EXPECT_THAT(with(9, "x"), HasSubstr("row_tiles is 'x'"));
  EXPECT_THAT(with(10, "inf"), HasSubstr("bytes is 'inf'"));
  for (const char* us : {"0", "-1", "nan", "inf", "1e999", "3us"}) EXPECT_THAT(with(14, us), HasSubstr("expected microseconds above 0"));
  EXPECT_EQ(with(14, "3"), "accepted");
}

TEST(Tuning, VariantsOfAnotherVersionAreIgnoredWithAWarning) {
  std::vector<std::string> warnings;
  const auto tuning = Tuning::parse(
      "llmc-tuning 1\nsm_61 linear bf16 f32 - 0 1 8 8 1 1 1 0 warp_drive 1\nsm_61 conv bf16 f32 - 0 1 8 8 1 1 1 0 naive 1\n", "t.txt", warnings);
  ASSERT_TRUE(tuning);
  EXPECT_TRUE(tuning->empty());
  EXPECT_THAT(warnings, ElementsAre("tuning file 't.txt', line 2: this compiler has no linear kernel named 'warp_drive'; the line is ignored",
                                    HasSubstr("line 3: this compiler has no conv kernel named 'naive'")));
}

TEST(Tuning, TheLeastMeasuredTimeWins) {
  const Target& t = target("sm_61");
  const auto predicted = choose_kernel(t, linear(1), "");
  ASSERT_TRUE(predicted);
  EXPECT_FALSE(predicted->best.measured);
  Tuning tuning;
  tuning.add({"sm_61", "naive", linear(1), 1e6});
  // Worse than anything predicted, but known.
  auto choice = choose_kernel(t, linear(1), "", &tuning);
  EXPECT_STREQ(choice->best.variant->name, "naive");
  EXPECT_TRUE(choice->best.measured);
  EXPECT_EQ(choice->runner_up.variant, predicted->best.variant);
  EXPECT_FALSE(choice->runner_up.measured);
  tuning.add({"sm_61", "gemv_r2", linear(1), 1e5});
  tuning.add({"sm_61", "tiled_64x64", linear(1), 1});  // cannot run a single row
  choice = choose_kernel(t, linear(1), "", &tuning);
  EXPECT_STREQ(choice->best.variant->name, "gemv_r2");
  EXPECT_STREQ(choice->runner_up.variant->name, "naive");
  EXPECT_TRUE(choice->runner_up.measured);
  // Forced: neither counts.
  EXPECT_STREQ(choose_kernel(t, linear(1), "gemv_r1", &tuning)->best.variant->name, "gemv_r1");
  // Another shape: the model.
  EXPECT_FALSE(choose_kernel(t, linear(2), "", &tuning)->best.measured);
}

}  // namespace
}  // namespace llmc
