// From lowered modules and compiled kernels to a plan file.
#pragma once

#include <memory>
#include <string>

#include "compiler/frontend/weights.h"
#include "compiler/target_emitter.h"
#include "compiler/weight_hasher.h"
#include "passes/KvGroups.h"

namespace llmc {

// The step limits of a plan (design: the step program).
struct StepLimits {
  int64_t max_context = 0;
  int64_t max_batch = 0;
  int64_t max_step_tokens = 0;
  int64_t max_logits = 0;
  int64_t block_tokens = 16;

  int64_t table_stride() const { return (max_context + block_tokens - 1) / block_tokens; }
};

class PlanEmitter {
 public:
  static llm::Result<std::unique_ptr<PlanEmitter>> create(const std::string& output, const std::string& model_dir, const ModelConfig& config,
                                                          const Checkpoint& checkpoint, const ModelWeights& weights,
                                                          const std::vector<KvGroup>& groups, const StepLimits& limits,
                                                          bool embed_weights);

  // Digests of all source tensors, from `jobs` threads.
  llm::Status hash_weights(size_t jobs) { return llmc::hash_weights(plan_.checkpoint, jobs, plan_.tables); }
  llm::Status add_target(const Target& target, mlir::ModuleOp module, const CompiledTarget& code);

  // Writes the file; its size in bytes.
  llm::Result<uint64_t> finish();

 private:
  PlanEmitter(const Checkpoint& checkpoint, const StepLimits& limits, bool embed)
      : limits_(limits), plan_(checkpoint, embed) {}

  void add_model(const std::string& model_dir, const ModelConfig& config, const ModelWeights& weights);
  void add_sources(const ModelWeights& weights);
  void add_io_fields();
  void add_kv_groups(const std::vector<KvGroup>& groups);
  llm::Status add_text(const std::string& model_dir);

  StepLimits limits_;
  std::string output_;
  OpenPlan plan_;
};

}  // namespace llmc
