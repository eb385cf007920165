#include "compiler/frontend/rope.h"

#include <cmath>

#include "test/frontend/test_model.h"

namespace llmc::test {
namespace {

// 9 digits are given, so within 5e-9 relative; float32 has 6e-8.
constexpr double kRelative = 1.3e-7;

void expect_close(float found, double expected) { EXPECT_NEAR(found / expected, 1.0, kRelative) << expected; }

Rope rope(const RopeParameters& parameters, int64_t head_dim, int64_t max_positions = 131072, int64_t max_context = 0) {
  auto result = compute_rope(parameters, head_dim, max_positions, max_context);
  EXPECT_TRUE(result.ok()) << result.error().message;
  return result.ok() ? *result : Rope{};
}

TEST(Rope, Default) {
  const Rope r = rope({.theta = 10000.0}, 128);
  ASSERT_EQ(r.inv_freq.size(), 64u);
  EXPECT_EQ(r.rotary_dim, 128);
  EXPECT_EQ(r.attention_scaling, 1.0);
  EXPECT_EQ(r.max_positions, 0);
  EXPECT_EQ(r.inv_freq[0], 1.0f);
  for (int j = 0; j < 64; ++j) expect_close(r.inv_freq[j], std::pow(10000.0, -j / 64.0));
}

TEST(Rope, LinearDivides) {
  const Rope plain = rope({.theta = 5e5}, 64);
  const Rope linear = rope({.kind = RopeKind::kLinear, .theta = 5e5, .factor = 4.0}, 64);
  for (size_t j = 0; j < 32; ++j) EXPECT_EQ(linear.inv_freq[j], plain.inv_freq[j] / 4.0f);
}

TEST(Rope, DynamicIsDefaultUpToItsLength) {
  const RopeParameters p = {.kind = RopeKind::kDynamic, .theta = 10000.0, .factor = 2.0};
  const Rope r = rope(p, 64, 4096, 4096);
  EXPECT_EQ(r.inv_freq, rope({.theta = 10000.0}, 64).inv_freq);
  EXPECT_EQ(r.max_positions, 4096);
  EXPECT_FALSE(compute_rope(p, 64, 4096, 4097).ok());
}

TEST(Rope, Llama3Golden) {
  const RopeParameters p = {.kind = RopeKind::kLlama3,
                            .theta = 5e5,
                            .factor = 8.0,
                            .original_max_position_embeddings = 8192,
                            .low_freq_factor = 1.0,
                            .high_freq_factor = 4.0};
  const Rope r = rope(p, 128);
  const Rope plain = rope({.theta = 5e5}, 128);
  for (size_t j = 0; j <= 28; ++j) EXPECT_EQ(r.inv_freq[j], plain.inv_freq[j]) << j;
  expect_close(plain.inv_freq[29], 0.00261609925);
  expect_close(r.inv_freq[29], 0.00216657076);
  expect_close(plain.inv_freq[30], 0.00213111954);
  expect_close(r.inv_freq[30], 0.00137189357);
  for (size_t j = 35; j < 64; ++j) EXPECT_EQ(r.inv_freq[j], plain.inv_freq[j] / 8.0f) << j;
  expect_close(r.inv_freq[35], 9.55621235e-05);
  expect_close(r.inv_freq[63], 3.06892599e-07);
}

TEST(Rope, YarnRampBounds) {
  const RopeParameters p = {
      .kind = RopeKind::kYarn, .theta = 1e4, .factor = 40.0, .original_max_position_embeddings = 4096};
  const Rope r = rope(p, 64);
  const Rope plain = rope({.theta = 1e4}, 64);
  // From low = 10 to high = 23 the frequencies go over from unchanged to divided.
  for (size_t j = 0; j <= 10; ++j) EXPECT_EQ(r.inv_freq[j], plain.inv_freq[j]) << j;
  EXPECT_LT(r.inv_freq[11], plain.inv_freq[11]);
  EXPECT_GT(r.inv_freq[22], plain.inv_freq[22] / 40.0f * 1.5f);
  for (size_t j = 23; j < 32; ++j) expect_close(r.inv_freq[j], plain.inv_freq[j] / 40.0);
}

TEST(Rope, YarnAttentionScaling) {
  RopeParameters p = {.kind = RopeKind::kYarn, .theta = 1e4, .factor = 40.0, .original_max_position_embeddings = 4096};
  EXPECT_NEAR(rope(p, 64).attention_scaling, 1.3688879454, 1e-10);
  p.mscale = 1.0;
  p.mscale_all_dim = 1.0;
  EXPECT_EQ(rope(p, 64).attention_scaling, 1.0);
  p.mscale_all_dim = 0.707;
  EXPECT_NEAR(rope(p, 64).attention_scaling, 1.3688879454 / 1.2608037774, 1e-9);
  p.attention_factor = 1.25;
  EXPECT_EQ(rope(p, 64).attention_scaling, 1.25);
}

TEST(Rope, YarnFactorDefaultsToTheExtension) {
  RopeParameters p = {.kind = RopeKind::kYarn, .theta = 1e4, .original_max_position_embeddings = 4096};
  const Rope inferred = rope(p, 64, 16384);
  p.factor = 4.0;
  EXPECT_EQ(inferred.inv_freq, rope(p, 64, 16384).inv_freq);
  EXPECT_EQ(inferred.attention_scaling, rope(p, 64, 16384).attention_scaling);
}

TEST(Rope, LongropeChoosesByTheCompiledLength) {
  RopeParameters p = {.kind = RopeKind::kLongrope, .theta = 1e4, .original_max_position_embeddings = 4096};
  p.short_factor.assign(32, 2.0);
  p.long_factor.assign(32, 4.0);
  const Rope plain = rope({.theta = 1e4}, 64);
  const Rope short_rope = rope(p, 64, 131072, 4096);
  const Rope long_rope = rope(p, 64, 131072);
  for (size_t j = 0; j < 32; ++j) {
    expect_close(short_rope.inv_freq[j], plain.inv_freq[j] / 2.0);
    expect_close(long_rope.inv_freq[j], plain.inv_freq[j] / 4.0);
  }
  EXPECT_EQ(short_rope.max_positions, 4096);
  EXPECT_EQ(long_rope.max_positions, 0);
  EXPECT_NEAR(long_rope.attention_scaling, 1.1902380714238083, 1e-15);
}

// Bits that transformers 5.23.0 with torch 2.15.0 computes for [9, 20, 31] of head_dim 64, theta 5e5. torch's float32
// pow is itself within one unit of the last place, which a reciprocal can double; here powers are rounded correctly.
TEST(Rope, EqualsTransformersToTheLastUnits) {
  auto ulps = [](float a, float b) {
    int32_t x = 0;
    int32_t y = 0;
    std::memcpy(&x, &a, 4);
    std::memcpy(&y, &b, 4);
    return std::abs(x - y);
  };
  struct Golden {
    RopeParameters parameters;
    float expected[3];
  };
  const Golden goldens[] = {
      {{.theta = 5e5}, {0x1.98de92p-6f, 0x1.1f91fp-12f, 0x1.94836p-19f}},
      {{.kind = RopeKind::kLinear, .theta = 5e5, .factor = 4.0}, {0x1.98de92p-8f, 0x1.1f91fp-14f, 0x1.94836p-21f}},
      {{.kind = RopeKind::kDynamic, .theta = 5e5, .factor = 2.0}, {0x1.98de92p-6f, 0x1.1f91fp-12f, 0x1.94836p-19f}},
      {{.kind = RopeKind::kLlama3,
        .theta = 5e5,
        .factor = 8.0,
        .original_max_position_embeddings = 8192,
        .low_freq_factor = 1.0,
        .high_freq_factor = 4.0},
       {0x1.98de92p-6f, 0x1.1f91fp-15f, 0x1.94836p-22f}},
      {{.kind = RopeKind::kYarn,
        .theta = 5e5,
        .factor = 3.3,
        .original_max_position_embeddings = 4096,
        .beta_fast = 20,
        .beta_slow = 2.5,
        .truncate = false},
       {0x1.7c91bep-6f, 0x1.5c91dcp-14f, 0x1.ea51acp-21f}},
  };
  for (const Golden& golden : goldens) {
    const Rope r = rope(golden.parameters, 64);
    for (int i = 0; i < 3; ++i) {
      EXPECT_LE(ulps(r.inv_freq[9 + 11 * i], golden.expected[i]), 2) << rope_kind_name(r.kind) << " " << 9 + 11 * i;
    }
  }
}

}  // namespace
}  // namespace llmc::test
