// One step as the host describes it, and what the device makes of it by itself.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels_templates/abi.h"
#include "plan/plan_reader.h"
#include "plan/result.h"

namespace llmrt {

// Vectors are indexed as in kernels_templates/abi.h; positions, kv_index and so on are as long as tokens.
struct StepInput {
  std::vector<int32_t> tokens;  // id, or -1-j: what row j of the last step sampled
  std::vector<int32_t> positions, kv_index, token_seq;
  std::vector<int32_t> query_start, kv_len, seq_slot, seq_flags;
  std::vector<int32_t> logit_rows;
  std::vector<llm_abi::SampleParams> sampling;  // one per logit row if the step samples, else empty
  std::vector<llm_abi::BiasPair> bias;
  std::vector<uint32_t> mask;  // [logit rows, mask_words], or empty
  std::vector<llm_abi::BlockUpdate> block_updates;

  void clear();
};

// Errors: arrays of different lengths, indices out of range, more of something than the plan's limits allow.
llm::Status check_step(const StepInput& in, const llm::fb::LimitsT& limits, uint64_t vocab);

// Whether the launch `advance` can turn the step into the next one: each sequence has one token and one logit row, in
// order, and samples. Not with masks: a mask is for one token.
bool can_advance(const StepInput& in);

// What `advance` makes of the step in its io set (AdvanceArgs in kernels_templates/abi.h says the same of the device).
void advance(StepInput& in);

bool same_input(const StepInput& a, const StepInput& b);

// Whether the vocabulary mask [mask_words] leaves an id to choose.
bool allows_any(std::span<const uint32_t> mask, uint64_t vocab);

}  // namespace llmrt
