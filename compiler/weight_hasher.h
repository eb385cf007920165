// `--hash-weights`: what the source tensors contain, so that the runtime notices other weights under the same header.
#pragma once

#include "compiler/frontend/checkpoint.h"
#include "plan/plan_generated.h"
#include "plan/result.h"

namespace llmc {

// Sets the digest of every tensor of the plan. Reads all of them, from `jobs` threads.
llm::Status hash_weights(const Checkpoint& checkpoint, size_t jobs, llm::fb::PlanT& plan);

}  // namespace llmc
