// KV groups: layers with the same window and the same bytes per block share a pool shape and a block table.
#pragma once

#include <vector>

#include "passes/Passes.h"

namespace llmc {

struct KvGroup {
  int64_t window, kv_heads, head_dim;
  mlir::Type element;
  std::vector<int64_t> layers;

  int64_t block_bytes(int64_t block_tokens) const;  // of one layer: K and V
};

// In order of first appearance; the index is the group's number. Reads the `llm.kv_cache` operations below `op`.
std::vector<KvGroup> kv_groups(mlir::Operation* op);

// Index of the group that holds `layer`.
size_t group_of(const std::vector<KvGroup>& groups, int64_t layer);

}  // namespace llmc
