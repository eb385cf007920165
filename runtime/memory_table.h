// What a plan needs of a device's memory, known before anything is allocated.
#pragma once

#include <cstdint>

#include "plan/plan_reader.h"
#include "runtime/device.h"

namespace llmrt {

struct MemoryTable {
  uint64_t weights = 0;           // buffers that are allocated
  uint64_t mapped_weights = 0;    // used in place from mapped files (CPU)
  uint64_t activations = 0;       // the arena
  uint64_t state = 0;             // logits, penalty counts, block tables, ...
  uint64_t io = 0;                // both io sets
  uint64_t kv_bytes_per_token = 0;
  uint64_t kv_blocks = 0;         // blocks per KV group
  uint64_t kv = 0;                // kv_blocks of every group
  uint64_t total = 0;
  uint64_t device_free = 0;
  bool fits = false;
  uint64_t fitting_tokens = 0;    // KV tokens that the free memory can hold beside the rest
};

// KV: room for max_batch sequences of max_context tokens, or for as many tokens as fit (`kv_limit` bytes if not 0).
MemoryTable memory_table(const llm::PlanFile& plan, const llm::fb::TargetT& target, const DeviceInfo& device,
                         uint64_t kv_limit);

// Weights that a host-addressable device uses where the file is mapped. None of an authenticated plan whose bytes are
// checked: the file could change afterwards.
bool used_in_place(const llm::fb::WeightT& weight, const llm::PlanFile& plan, const DeviceInfo& device);

}  // namespace llmrt
