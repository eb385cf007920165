// What the repack kernel reads from single words of each packing, against words that were computed by hand.
#include <gtest/gtest.h>

#include <cmath>

#include "x86/repack.h"

namespace llmc::test {
namespace {

// Value i of line 0 of `words`.
u32 value(const PackedView& view, const u32* words, i64 i) {
  PackedView v = view;
  v.words = words, v.word_bytes = 4, v.word_stride = 1;
  return packed_value(v, 0, i);
}

TEST(PackedView, GptqFourBits) {
  const u32 word[] = {0x76543210};
  for (u32 i = 0; i < 8; ++i) EXPECT_EQ(value({.bits = 4, .unit_values = 8, .unit_words = 1}, word, i), i);
}

TEST(PackedView, GptqThreeBitsAreOneStreamOfThreeWords) {
  const u32 words[] = {0x43c67543, 0x7543c675, 0xc67543c6};
  for (u32 i = 0; i < 32; ++i)
    EXPECT_EQ(value({.bits = 3, .unit_values = 32, .unit_words = 3}, words, i), (5 * i + 3) % 8);
}

TEST(PackedView, GptqZerosOfSymmetricWeights) {
  const u32 v1[] = {0x77777777}, v2[] = {0x88888888};
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(value({.bits = 4, .unit_values = 8, .unit_words = 1, .add = 1}, v1, i), 8u);
    EXPECT_EQ(value({.bits = 4, .unit_values = 8, .unit_words = 1}, v2, i), 8u);
  }
}

// Zero, stored minus one, is 15: adding comes before masking.
TEST(PackedView, GptqZeroOfZeroWraps) {
  const u32 word[] = {0xffffffff};
  EXPECT_EQ(value({.bits = 4, .unit_values = 8, .unit_words = 1, .add = 1}, word, 3), 0u);
}

TEST(PackedView, AwqGemmOrder) {
  const u32 word[] = {0x75316420};
  for (u32 i = 0; i < 8; ++i)
    EXPECT_EQ(value({.bits = 4, .unit_values = 8, .unit_words = 1, .order = 0x73625140}, word, i), i);
}

// compressed-tensors stores -8 .. -1 as 0 .. 7; three bits leave two of a word unused.
TEST(PackedView, CompressedTensorsWholeValues) {
  const u32 four[] = {0x76543210}, three[] = {0xffffffff, 0x00000001};
  for (u32 i = 0; i < 8; ++i)
    EXPECT_EQ(static_cast<int>(value({.bits = 4, .unit_values = 8, .unit_words = 1}, four, i)) - 8,
              static_cast<int>(i) - 8);
  EXPECT_EQ(value({.bits = 3, .unit_values = 10, .unit_words = 1}, three, 9), 7u);
  EXPECT_EQ(value({.bits = 3, .unit_values = 10, .unit_words = 1}, three, 10), 1u);
}

TEST(CodeValue, Float8) {
  EXPECT_EQ(code_value(E4m3{}, 0x00), 0.0f);
  EXPECT_EQ(code_value(E4m3{}, 0x01), 0x1p-9f);
  EXPECT_EQ(code_value(E4m3{}, 0x38), 1.0f);
  EXPECT_EQ(code_value(E4m3{}, 0x7e), 448.0f);
  EXPECT_EQ(code_value(E4m3{}, 0xfe), -448.0f);
  EXPECT_TRUE(std::isnan(code_value(E4m3{}, 0x7f)));
}

}  // namespace
}  // namespace llmc::test
