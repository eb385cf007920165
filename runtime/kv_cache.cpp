#include "runtime/kv_cache.h"

#include <algorithm>

namespace llmrt {

KvCache::KvCache(const llm::fb::PlanT& plan, uint64_t blocks_per_group)
    : block_tokens_(plan.limits->block_tokens), blocks_(blocks_per_group), groups_(plan.kv_groups.size()) {
  for (Group& g : groups_) {
    for (uint64_t b = blocks_; b-- > 0;) g.free.push_back(static_cast<int32_t>(b));
    g.tables.resize(plan.limits->max_batch);
  }
}

uint64_t KvCache::free_blocks() const {
  uint64_t least = blocks_;
  for (const Group& g : groups_) least = std::min<uint64_t>(least, g.free.size());
  return least;
}

bool KvCache::reserve(int32_t slot, uint64_t tokens, std::vector<llm_abi::BlockUpdate>& updates) {
  const uint64_t wanted = blocks_for(tokens);
  for (const Group& g : groups_) {
    const uint64_t have = g.tables[static_cast<size_t>(slot)].size();
    if (wanted > have && wanted - have > g.free.size()) return false;
  }
  for (size_t i = 0; i < groups_.size(); ++i) {
    Group& g = groups_[i];
    std::vector<int32_t>& table = g.tables[static_cast<size_t>(slot)];
    while (table.size() < wanted) {
      updates.push_back({static_cast<int32_t>(i), slot, static_cast<int32_t>(table.size()), g.free.back()});
      table.push_back(g.free.back());
      g.free.pop_back();
    }
  }
  return true;
}

void KvCache::release(int32_t slot) {
  for (Group& g : groups_) {
    std::vector<int32_t>& table = g.tables[static_cast<size_t>(slot)];
    g.free.insert(g.free.end(), table.rbegin(), table.rend());
    table.clear();
  }
}

}  // namespace llmrt
