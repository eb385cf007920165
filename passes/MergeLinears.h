// Merging linear layers that share their input: the mechanism behind merge-qkv and merge-gate-up.
#pragma once

#include "dialects/llm/LlmDialect.h"

namespace llmc {

// Replaces `linears` (same input, weights and biases that are `llm.weight` ops of one element type, all with a bias or none) by
// one linear with stacked weights, and each of them by a slice of its result. False if they cannot be merged.
bool merge_linears(llvm::ArrayRef<ops::LinearOp> linears);

}  // namespace llmc
