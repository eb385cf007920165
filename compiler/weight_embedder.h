// `--weights embed`: writes a weight buffer into the plan as the target uses it, by the recipe that the init program would run.
#pragma once

#include <map>
#include <span>
#include <vector>

#include "compiler/frontend/checkpoint.h"
#include "plan/plan_writer.h"

namespace llmc {

// The segment that holds the buffer's bytes. Memory use does not grow with the weight.
llm::Result<uint32_t> embed_weight(llm::PlanWriter& writer, const Checkpoint& checkpoint, const llm::fb::PlanT& plan,
                                   const llm::fb::WeightT& weight);

// Makes, here, the weights that the program init of a target fills when a plan is loaded: by the x86 build of its kernels, into the layout
// of the target.
class InitWeights {
 public:
  InitWeights(const Checkpoint& checkpoint, const llm::fb::PlanT& plan, const llm::fb::TargetT& target)
      : checkpoint_(checkpoint), plan_(plan), target_(target) {}

  // Weight `index` of the target, by the launches that fill it. Orders stay in memory, other weights until the next call.
  llm::Result<std::span<const std::byte>> make(uint32_t index, std::span<const llm::fb::LaunchT* const> launches);

 private:
  llm::Result<std::vector<uint64_t>> arguments(const llm::fb::LaunchT& launch, uint32_t weight, std::byte* bytes);
  llm::Result<const llm::MappedFile*> map(uint32_t file);

  const Checkpoint& checkpoint_;
  const llm::fb::PlanT& plan_;
  const llm::fb::TargetT& target_;
  std::map<uint32_t, std::vector<std::byte>> orders_;
  std::vector<std::byte> bytes_;
  std::map<uint32_t, llm::MappedFile> maps_;
};

}  // namespace llmc
