// Which steps the device can turn into the next one, and into which.
#include "runtime/step_input.h"

#include <gtest/gtest.h>

namespace llmrt {
namespace {

// Three sequences that decode.
StepInput decode_step() {
  StepInput in;
  in.tokens = {70, -2, 9};
  in.positions = {10, 4, 0};
  in.kv_index = {10, 4, 0};
  in.token_seq = {0, 1, 2};
  in.query_start = {0, 1, 2, 3};
  in.kv_len = {11, 5, 1};
  in.seq_slot = {2, 0, 5};
  in.seq_flags = {0, 0, llm_abi::kSeqReset};
  in.logit_rows = {0, 1, 2};
  for (int32_t position : {11, 5, 1}) {
    llm_abi::SampleParams p{};
    p.position = position;
    in.sampling.push_back(p);
  }
  in.block_updates = {{0, 5, 0, 3}};
  return in;
}

TEST(StepInput, ADecodeStepAdvances) {
  StepInput in = decode_step();
  ASSERT_TRUE(can_advance(in));
  advance(in);
  EXPECT_EQ(in.tokens, (std::vector<int32_t>{-1, -2, -3}));
  EXPECT_EQ(in.positions, (std::vector<int32_t>{11, 5, 1}));
  EXPECT_EQ(in.kv_index, (std::vector<int32_t>{11, 5, 1}));
  EXPECT_EQ(in.kv_len, (std::vector<int32_t>{12, 6, 2}));
  EXPECT_EQ(in.seq_slot, (std::vector<int32_t>{2, 0, 5}));
  EXPECT_EQ(in.seq_flags, (std::vector<int32_t>{0, 0, 0}));
  EXPECT_EQ(in.sampling[1].position, 6);
  EXPECT_TRUE(in.block_updates.empty());
  EXPECT_TRUE(can_advance(in));
}

TEST(StepInput, OtherStepsDoNot) {
  StepInput prefill = decode_step();  // two tokens of the last sequence
  prefill.tokens.push_back(8), prefill.positions.push_back(1), prefill.kv_index.push_back(1),
      prefill.token_seq.push_back(2);
  prefill.query_start.back() = 4, prefill.kv_len.back() = 2, prefill.logit_rows.back() = 3;
  EXPECT_FALSE(can_advance(prefill));
  StepInput reordered = decode_step();
  reordered.logit_rows = {1, 0, 2};
  EXPECT_FALSE(can_advance(reordered));
  StepInput fewer_rows = decode_step();
  fewer_rows.logit_rows.pop_back(), fewer_rows.sampling.pop_back();
  EXPECT_FALSE(can_advance(fewer_rows));
  StepInput unsampled = decode_step();
  unsampled.sampling.clear();
  EXPECT_FALSE(can_advance(unsampled));
  StepInput masked = decode_step();
  masked.mask = {1, 1, 1};
  EXPECT_FALSE(can_advance(masked));
}

TEST(StepInput, AnyDifferenceIsSeen) {
  const StepInput in = decode_step();
  EXPECT_TRUE(same_input(in, decode_step()));
  const auto differs = [&](auto change) {
    StepInput other = decode_step();
    change(other);
    return !same_input(in, other);
  };
  EXPECT_TRUE(differs([](StepInput& o) { o.tokens[0] = 71; }));
  EXPECT_TRUE(differs([](StepInput& o) { o.positions[1] = 5; }));
  EXPECT_TRUE(differs([](StepInput& o) { o.kv_index[1] = 5; }));
  EXPECT_TRUE(differs([](StepInput& o) { o.token_seq[2] = 1; }));
  EXPECT_TRUE(differs([](StepInput& o) { o.query_start[2] = 1; }));
  EXPECT_TRUE(differs([](StepInput& o) { o.kv_len[0] = 12; }));
  EXPECT_TRUE(differs([](StepInput& o) { o.seq_slot[0] = 3; }));
  EXPECT_TRUE(differs([](StepInput& o) { o.seq_flags[0] = 1; }));
  EXPECT_TRUE(differs([](StepInput& o) { o.logit_rows[0] = 1; }));
  EXPECT_TRUE(differs([](StepInput& o) { o.sampling[2].seed = 1; }));
  EXPECT_TRUE(differs([](StepInput& o) { o.bias.push_back({1, 2.0f}); }));
  EXPECT_TRUE(differs([](StepInput& o) { o.mask = {0, 0, 0}; }));
  EXPECT_TRUE(differs([](StepInput& o) { o.block_updates.clear(); }));
}

TEST(StepInput, MasksWithoutAnIdAreSeen) {
  EXPECT_FALSE(allows_any(std::vector<uint32_t>{0, 0}, 40));
  EXPECT_TRUE(allows_any(std::vector<uint32_t>{0, 1u << 7}, 40));
  EXPECT_FALSE(allows_any(std::vector<uint32_t>{0, 1u << 8}, 40)) << "beyond the vocabulary";
}

}  // namespace
}  // namespace llmrt
