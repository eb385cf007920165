// From one target's lowered module and its compiled kernels to its part of a plan.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>

#include "compiler/codegen/kernel_compiler.h"
#include "compiler/frontend/checkpoint.h"
#include "dialects/exec/ExecDialect.h"
#include "kernels_templates/abi.h"
#include "mlir/IR/BuiltinOps.h"
#include "plan/plan_writer.h"

namespace llmc {

// A plan that is being written: what its targets share, and the numbers by which they refer to it.
struct OpenPlan {
  OpenPlan(const Checkpoint& checkpoint, bool embed_weights) : checkpoint(checkpoint), embed_weights(embed_weights) {}

  const Checkpoint& checkpoint;
  bool embed_weights;
  std::unique_ptr<llm::PlanWriter> writer;
  llm::fb::PlanT tables;
  std::map<std::string, uint32_t> tensor_index, io_index;
  std::map<std::string, int32_t> embedded;  // recipe -> segment
};

class TargetEmitter {
 public:
  explicit TargetEmitter(OpenPlan& plan) : plan_(plan), out_(std::make_unique<llm::fb::TargetT>()) {}

  // Once.
  llm::Result<std::unique_ptr<llm::fb::TargetT>> emit(const Target& target, mlir::ModuleOp module, const CompiledTarget& code);

 private:
  llm::Status add_kernels(mlir::ModuleOp module, const CompiledTarget& code, bool cuda);
  llm::Status add_weights(mlir::ModuleOp module);
  llm::Status add_constants(mlir::ModuleOp module);
  llm::Result<int32_t> embed(const llm::fb::WeightT& weight);
  void add_states(mlir::ModuleOp module);
  llm::Status add_program(exec::ProgramOp program);
  llm::Result<llm::fb::Slot> pointer_slot(mlir::Value pointer, int64_t offset) const;
  llm::Status add_slots(llm::fb::LaunchT& out, exec::LaunchOpInterface launch) const;
  llm::Status embed_init(exec::ProgramOp program);
  // The launch of a persistent kernel with that many phases.
  llm::Result<std::unique_ptr<llm::fb::LaunchT>> persistent_launch(llvm::StringRef kernel, size_t phases);

  OpenPlan& plan_;
  std::unique_ptr<llm::fb::TargetT> out_;
  std::map<std::string, uint32_t> kernel_index_, weight_index_, constant_index_, state_index_;
  std::array<uint64_t, llm_abi::kExchangeParts + 1> exchange_ = {};  // where its parts begin in the state step_exchange, in bytes
};

}  // namespace llmc
