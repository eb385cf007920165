// Quantized weights of an `exec` module: their buffers, and the program @init that fills these from the tensors of the
// checkpoint.
#pragma once

#include <map>

#include "passes/LaunchBuilder.h"
#include "plan/quantized_layout.h"

namespace llmc {

class QuantizedWeights {
 public:
  explicit QuantizedWeights(ExecSymbols& symbols) : symbols_(symbols), builder_(symbols.module().getContext()) {}

  // The buffer of a quantized llm.weight, in the layout of the target: repacked, or made from dense parts.
  llm::Result<exec::WeightOp> weight(ops::WeightOp source);
  // The columns of a checkpoint sorted by the group that tensor `group_of` gives them: i32 [cols].
  llm::Result<exec::WeightOp> order(llvm::StringRef group_of, int64_t cols, int64_t group);
  // Of a buffer that weight() made.
  llm::QuantizedLayout layout(exec::WeightOp weight) const;

 private:
  View source(llvm::StringRef key);
  View pointer_to(exec::WeightOp weight);
  exec::WeightOp add(mlir::Location loc, const std::string& name, mlir::ArrayAttr parts, int64_t rows, int64_t cols,
                     mlir::Type element, llvm::StringRef layout, int64_t bytes);
  int64_t order_of(exec::WeightOp weight) const;
  void packed(LaunchBuilder& l, ops::PackedAttr view);
  void scales(LaunchBuilder& l, ops::ScalesAttr view);
  llm::Status quantize(exec::WeightOp weight, ops::PartAttr part, int64_t first_row);
  llm::Status repack(exec::WeightOp weight, ops::QuantizedPartAttr part, int64_t first_row);

  ExecSymbols& symbols_;
  mlir::OpBuilder builder_;
  exec::ProgramOp program_;
  std::map<const void*, exec::WeightOp> weights_;          // by parts attribute (uniqued by MLIR)
  std::map<std::string, exec::WeightOp> orders_;           // by the name of the tensor
  std::map<std::string, mlir::Value> sources_, pointers_;  // of program_, by the name of tensor and weight
};

constexpr int kFragmentOrder = 8;

// The order of a weight's codes in memory (quantized_layout.h): one for all kernels of the module's target.
int quantized_order(mlir::ModuleOp module, ops::QuantizedType type, int64_t rows, int64_t cols);

// The operand type of the target's linear layers with such a weight.
mlir::Type quantized_operand(mlir::ModuleOp module, const Target& target, ops::QuantizedType type, int64_t rows, int64_t cols);

// The shape of a quantized weight as the module's target stores it.
llm::QuantizedShape quantized_shape(mlir::ModuleOp module, ops::QuantizedType type, int64_t rows, int64_t cols);

}  // namespace llmc
