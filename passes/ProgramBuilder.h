// A program under construction: where the values of its bucket function stand in memory, and launches for its operations.
#pragma once

#include <array>
#include <map>

#include "passes/KvGroups.h"
#include "passes/LaunchBuilder.h"
#include "passes/QuantizedWeights.h"

namespace llmc {

// The name that the frontend gave to an operation, for profiles and memory tables.
std::string layer_name(mlir::Location loc);

class ProgramBuilder {
 public:
  ProgramBuilder(mlir::func::FuncOp function, ExecSymbols& symbols, QuantizedWeights& quantized, const std::vector<KvGroup>& groups);

 protected:
  // --- Pointers; one operation for each of a program ---
  template <typename Op, typename Key>
  View pointer(const std::string& cache_key, Key key) {
    View& view = pointers_[cache_key];
    if (!view.base) {
      mlir::OpBuilder::InsertionGuard guard(builder_);
      builder_.setInsertionPointToStart(builder_.getInsertionBlock());
      view.base = builder_.create<Op>(builder_.getUnknownLoc(), exec::PtrType::get(builder_.getContext()), key).getResult();
    }
    return view;
  }
  View io(const std::string& field) { return pointer<exec::IoOp>("io " + field, builder_.getStringAttr(field)); }
  View state(const std::string& name) { return pointer<exec::StateOp>("state " + name, builder_.getStringAttr(name)); }
  View kv_base(int64_t layer) { return pointer<exec::KvBaseOp>("kv " + std::to_string(layer), builder_.getI64IntegerAttr(layer)); }
  View weight(mlir::Value v, bool as_linear);
  View address_of(exec::WeightOp op) { return pointer<exec::WeightPtrOp>("weight " + op.getSymName().str(), mlir::FlatSymbolRefAttr::get(op)); }
  View counts() { return io("counts"); }

  // --- Buffers ---
  View buffer(int64_t bytes, const std::string& layer);
  int64_t rows_of(mlir::Value v) { return is_logit_rows(v) ? bucket_.logits : bucket_.tokens; }
  static int64_t row_count(mlir::Value v);  // llm_abi::RowCount
  // The buffer of a result. What @forward returns lives in state buffers, which the sampler and the host read.
  View result(mlir::Value v) { return result(v, rows_of(v)); }
  View result(mlir::Value v, int64_t rows);  // with room for so many rows
  // Codes, scales and sums of an activation in int8.
  std::array<View, 3> int8_parts(mlir::Value v);

  // --- Launches ---
  LaunchBuilder launch() { return LaunchBuilder(builder_, symbols_); }
  // KvView of kernels_templates/abi.h.
  void kv_view(LaunchBuilder& l, mlir::Value cache, exec::Access access);
  // The variant that select-kernels chose for `op`; null without one.
  const llm::Variant* chosen(mlir::Operation* op);
  // Emits `l` with that variant.
  mlir::LogicalResult emit(LaunchBuilder& l, mlir::Operation* op, int64_t z = 1);
  // A launch that no operation stands for.
  mlir::LogicalResult emit_extra(LaunchBuilder& l, const KernelShape& shape, mlir::Operation* near);
  static LaunchBuilder::Origin origin_of(mlir::Operation* op, const OpWork& work);

  mlir::func::FuncOp function_;
  ExecSymbols& symbols_;
  QuantizedWeights& quantized_;
  const std::vector<KvGroup>& groups_;
  Bucket bucket_;
  mlir::OpBuilder builder_;
  llvm::DenseMap<mlir::Value, View> views_;
  int64_t block_tokens_, max_batch_, table_stride_, vocab_, max_logits_;

 private:
  std::map<std::string, View> pointers_;
};

}  // namespace llmc
