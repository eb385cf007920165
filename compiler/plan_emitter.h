// From lowered modules and compiled kernels to a plan file.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "compiler/codegen/kernel_compiler.h"
#include "compiler/frontend/weights.h"
#include "compiler/weight_hasher.h"
#include "dialects/exec/ExecDialect.h"
#include "mlir/IR/BuiltinOps.h"
#include "passes/KvGroups.h"
#include "plan/plan_writer.h"

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
  llm::Status hash_weights(size_t jobs) { return llmc::hash_weights(checkpoint_, jobs, plan_); }
  llm::Status add_target(const Target& target, mlir::ModuleOp module, const CompiledTarget& code);

  // Writes the file; its size in bytes.
  llm::Result<uint64_t> finish();

 private:
  PlanEmitter(const Checkpoint& checkpoint, const StepLimits& limits, bool embed) : checkpoint_(checkpoint), limits_(limits), embed_(embed) {}

  void add_model(const std::string& model_dir, const ModelConfig& config, const ModelWeights& weights);
  void add_sources(const ModelWeights& weights);
  void add_io_fields();
  void add_kv_groups(const std::vector<KvGroup>& groups);
  llm::Status add_text(const std::string& model_dir);
  llm::Status add_kernels(llm::fb::TargetT& out, mlir::ModuleOp module, const CompiledTarget& code, bool cuda);
  llm::Status add_weights(llm::fb::TargetT& out, mlir::ModuleOp module);
  llm::Result<int32_t> embed(const llm::fb::WeightT& weight);
  llm::Status embed_init(llm::fb::TargetT& out, exec::ProgramOp program);
  void add_states(llm::fb::TargetT& out, mlir::ModuleOp module);
  llm::Status add_program(llm::fb::TargetT& out, exec::ProgramOp program);
  // The launch of a persistent kernel with that many phases.
  llm::Result<std::unique_ptr<llm::fb::LaunchT>> persistent_launch(llvm::StringRef kernel, size_t phases);

  const Checkpoint& checkpoint_;
  StepLimits limits_;
  bool embed_;
  std::string output_;
  std::unique_ptr<llm::PlanWriter> writer_;
  llm::fb::PlanT plan_;
  std::map<std::string, uint32_t> tensor_index_, io_index_, kernel_index_, weight_index_, constant_index_, state_index_;
  std::map<std::string, int32_t> embedded_;  // recipe -> segment
};

}  // namespace llmc
