#include "runtime/uniform_step.h"

#include "runtime/kv_cache.h"

namespace llmrt {

llm::Result<StepInput> uniform_step(const llm::fb::PlanT& plan, uint64_t kv_blocks, size_t tokens, size_t seqs, size_t context) {
  const auto& limits = *plan.limits;
  if (tokens == 0 || seqs == 0 || seqs > limits.max_batch || tokens * seqs > limits.max_step_tokens || context + tokens > limits.max_context)
    return llm::Error{"the step to profile is beyond the plan's limits"};
  KvCache kv(plan, kv_blocks);
  StepInput in;
  in.query_start.push_back(0);
  for (size_t s = 0; s < seqs; ++s) {
    const auto slot = static_cast<int32_t>(s);
    if (!kv.reserve(slot, context + tokens, in.block_updates)) return llm::Error{"the KV cache is too small for this profile"};
    for (size_t t = 0; t < tokens; ++t) {
      in.tokens.push_back(static_cast<int32_t>((7 * t + s) % plan.model->vocab));
      in.positions.push_back(static_cast<int32_t>(context + t));
      in.token_seq.push_back(slot);
    }
    in.query_start.push_back(static_cast<int32_t>(in.tokens.size()));
    in.kv_len.push_back(static_cast<int32_t>(context + tokens));
    in.seq_slot.push_back(slot);
    in.seq_flags.push_back(llm_abi::kSeqReset);
    in.logit_rows.push_back(static_cast<int32_t>(in.tokens.size()) - 1);
  }
  in.kv_index = in.positions;
  return in;
}

}  // namespace llmrt
