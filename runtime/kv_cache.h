// Which KV blocks belong to which sequence slot. Host side only: the tables themselves live on the device and follow by block updates.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels_templates/abi.h"
#include "plan/plan_reader.h"

namespace llmrt {

class KvCache {
 public:
  KvCache(const llm::fb::PlanT& plan, uint64_t blocks_per_group);

  uint64_t blocks_for(uint64_t tokens) const { return (tokens + block_tokens_ - 1) / block_tokens_; }
  uint64_t free_blocks() const;
  uint64_t total_blocks() const { return blocks_; }

  // Gives the slot room for `tokens` entries in every group and appends the table updates that a step must carry before it uses
  // them. False, with nothing changed, if there are too few free blocks.
  bool reserve(int32_t slot, uint64_t tokens, std::vector<llm_abi::BlockUpdate>& updates);
  void release(int32_t slot);

 private:
  struct Group {
    std::vector<int32_t> free;                 // a stack
    std::vector<std::vector<int32_t>> tables;  // [slot][index] = block
  };
  uint64_t block_tokens_, blocks_;
  std::vector<Group> groups_;
};

}  // namespace llmrt
