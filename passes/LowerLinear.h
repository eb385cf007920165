// The lowering of linear layers: dense and quantized, alone or with what was fused into them, and the vendor library's.
#pragma once

#include "passes/ProgramBuilder.h"

namespace llmc {

class LinearLowering : public ProgramBuilder {
 public:
  using ProgramBuilder::ProgramBuilder;

  mlir::LogicalResult lower_linear(ops::LinearOp o);
  mlir::LogicalResult lower_linear(ops::FusedLinearOp o);
  mlir::LogicalResult lower_linear(ops::LinearRopeKvOp o);
  // Into one buffer for all weights of the program, so that one is dequantized when the last is no more needed.
  mlir::LogicalResult lower_linear(ops::DequantizeOp o);

 private:
  // A dense weight, or the sections of a quantized one; without zeros, their view has no base.
  struct LinearWeight {
    View codes, scales, zeros;
    ops::QuantizedType type;
  };
  mlir::FailureOr<LinearWeight> linear_weight(mlir::Operation* op, mlir::Value v);
  // What the chosen kernel reads as x: where it takes e4m3, codes and scales that a launch of their own makes before.
  struct LinearInput {
    View x, scales;  // scales: of e4m3
  };
  mlir::FailureOr<LinearInput> linear_input(mlir::Operation* op, mlir::Value x);

  template <typename Linear>
  mlir::LogicalResult lower_quantized(Linear o);
  mlir::LogicalResult lower_gemm(ops::LinearOp o);
  int64_t square_stride(mlir::Value x);
  static void quantized_groups(LaunchBuilder& l, const LinearWeight& w);
  void split_k(LaunchBuilder& l, mlir::Operation* o, mlir::Value x, int64_t width, const View& x_scales);
  void tensor_maps(LaunchBuilder& l, const llm::Variant* variant, const View& input, mlir::Value x, mlir::Value w, const LinearWeight& parts);
  mlir::LogicalResult row_scale(LaunchBuilder& l, ops::LinearOp o);

  View dequantized_;
};

}  // namespace llmc
