// Rows of a step that a test builds itself.
#pragma once

#include <vector>

#include "runtime/engine.h"

namespace llmrt_test {

// Adds one sequence of the tokens, from position `first` on; it has no row of logits yet.
inline void add_sequence(llmrt::StepInput& in, int32_t slot, const std::vector<int32_t>& tokens, int32_t first) {
  if (in.query_start.empty()) in.query_start.push_back(0);
  const auto row = static_cast<int32_t>(in.kv_len.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    in.tokens.push_back(tokens[i]);
    in.positions.push_back(first + static_cast<int32_t>(i));
    in.token_seq.push_back(row);
  }
  in.kv_index = in.positions;
  in.query_start.push_back(static_cast<int32_t>(in.tokens.size()));
  in.kv_len.push_back(in.positions.back() + 1);
  in.seq_slot.push_back(slot);
  in.seq_flags.push_back(first == 0 ? llm_abi::kSeqReset : 0);
}

}  // namespace llmrt_test
