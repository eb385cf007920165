// Steps for measuring.
#pragma once

#include "plan/plan_reader.h"
#include "plan/result.h"
#include "runtime/step_input.h"

namespace llmrt {

// `seqs` sequences with `tokens` new tokens each behind `context` cached entries, one logit row a sequence. Its block updates are those of a cache
// of `kv_blocks` blocks that holds nothing else. Errors: beyond the plan's limits, or too few blocks.
llm::Result<StepInput> uniform_step(const llm::fb::PlanT& plan, uint64_t kv_blocks, size_t tokens, size_t seqs, size_t context);

}  // namespace llmrt
