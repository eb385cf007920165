// `--weights embed`: writes a weight buffer into the plan as the target uses it, by the recipe that the init program would run.
#pragma once

#include "compiler/frontend/checkpoint.h"
#include "plan/plan_writer.h"

namespace llmc {

// The segment that holds the buffer's bytes. Memory use does not grow with the weight.
llm::Result<uint32_t> embed_weight(llm::PlanWriter& writer, const Checkpoint& checkpoint, const llm::fb::PlanT& plan,
                                   const llm::fb::WeightT& weight);

}  // namespace llmc
