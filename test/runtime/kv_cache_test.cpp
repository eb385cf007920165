#include "runtime/kv_cache.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace llmrt {
namespace {

llm::fb::PlanT plan(size_t groups, uint64_t max_batch, uint64_t block_tokens) {
  llm::fb::PlanT p;
  p.limits = std::make_unique<llm::fb::LimitsT>();
  p.limits->max_batch = max_batch;
  p.limits->block_tokens = block_tokens;
  for (size_t g = 0; g < groups; ++g) p.kv_groups.push_back(std::make_unique<llm::fb::KvGroupT>());
  return p;
}

using Updates = std::vector<llm_abi::BlockUpdate>;

TEST(KvCache, BlocksAreRoundedUp) {
  const KvCache kv(plan(1, 4, 16), 10);
  EXPECT_EQ(kv.blocks_for(0), 0u);
  EXPECT_EQ(kv.blocks_for(1), 1u);
  EXPECT_EQ(kv.blocks_for(16), 1u);
  EXPECT_EQ(kv.blocks_for(17), 2u);
}

TEST(KvCache, ReservesOnlyWhatIsMissing) {
  KvCache kv(plan(1, 4, 16), 10);
  Updates updates;
  EXPECT_TRUE(kv.reserve(2, 20, updates));
  ASSERT_EQ(updates.size(), 2u);
  EXPECT_EQ(updates[0].slot, 2);
  EXPECT_EQ(updates[0].index, 0);
  EXPECT_EQ(updates[1].index, 1);
  EXPECT_EQ(kv.free_blocks(), 8u);
  EXPECT_TRUE(kv.reserve(2, 32, updates));
  EXPECT_EQ(updates.size(), 2u);
  EXPECT_TRUE(kv.reserve(2, 33, updates));
  EXPECT_EQ(updates.size(), 3u);
}

TEST(KvCache, RefusesWithNothingChanged) {
  KvCache kv(plan(2, 4, 16), 3);
  Updates updates;
  EXPECT_TRUE(kv.reserve(0, 32, updates));
  const size_t before = updates.size();
  EXPECT_FALSE(kv.reserve(1, 32, updates));
  EXPECT_EQ(updates.size(), before);
  EXPECT_EQ(kv.free_blocks(), 1u);
  EXPECT_TRUE(kv.reserve(1, 16, updates));
  EXPECT_EQ(kv.free_blocks(), 0u);
  kv.release(0);
  EXPECT_EQ(kv.free_blocks(), 2u);
}

// Whatever the order of requests and ends: no block has two owners, and none is lost.
TEST(KvCache, NoBlockHasTwoOwners) {
  const size_t groups = 2, slots = 8;
  const uint64_t blocks = 40;
  KvCache kv(plan(groups, slots, 16), blocks);
  std::map<std::pair<int32_t, int32_t>, std::vector<int32_t>> tables;  // of (group, slot)
  std::vector<uint64_t> tokens(slots);
  uint32_t random = 12345;
  const auto next = [&](uint32_t bound) {
    return (random = random * 1664525u + 1013904223u) >> 8 & 0xffffff ? random / 256 % bound : 0;
  };
  for (int round = 0; round < 5000; ++round) {
    const auto slot = static_cast<int32_t>(next(slots));
    if (next(5) == 0) {
      kv.release(slot);
      tokens[static_cast<size_t>(slot)] = 0;
      for (int32_t g = 0; g < static_cast<int32_t>(groups); ++g) tables[{g, slot}].clear();
    } else {
      Updates updates;
      const uint64_t wanted = tokens[static_cast<size_t>(slot)] + next(50);
      if (kv.reserve(slot, wanted, updates)) tokens[static_cast<size_t>(slot)] = wanted;
      for (const llm_abi::BlockUpdate& u : updates) {
        auto& table = tables[{u.group, u.slot}];
        ASSERT_EQ(u.index, static_cast<int32_t>(table.size()));
        table.push_back(u.block);
      }
    }
    for (int32_t g = 0; g < static_cast<int32_t>(groups); ++g) {
      std::set<int32_t> owned;
      size_t count = 0;
      for (int32_t s = 0; s < static_cast<int32_t>(slots); ++s) {
        const auto& table = tables[{g, s}];
        ASSERT_GE(table.size() * 16, tokens[static_cast<size_t>(s)]);
        owned.insert(table.begin(), table.end());
        count += table.size();
      }
      ASSERT_EQ(owned.size(), count);
      ASSERT_EQ(kv.free_blocks() + count, blocks);
      for (int32_t block : owned) ASSERT_LT(block, static_cast<int32_t>(blocks));
    }
  }
}

}  // namespace
}  // namespace llmrt
