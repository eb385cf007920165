// Builds the symbols and launches of an `exec` module: kernels, weights and constants are created once each; argument slots are given in
// the order of the family's struct in kernels_templates/abi.h.
#pragma once

#include <map>
#include <string>

#include "passes/KernelShapes.h"
#include "passes/KernelTable.h"
#include "passes/Passes.h"
#include "plan/result.h"

namespace llmc {

// A [rows, width] range of columns of something in memory.
struct View {
  mlir::Value base;     // !exec.ptr
  int64_t offset = 0;   // bytes from base to the first element
  int64_t stride = 0;   // elements from row to row
};

// The symbols of the module under construction.
class ExecSymbols {
 public:
  ExecSymbols(mlir::ModuleOp module, const Target& target) : module_(module), target_(target) {}

  exec::KernelOp kernel(const llm::Variant& variant, const KernelShape& shape);
  // `as_linear`: the layout that the target's linear kernels read; otherwise row-major.
  exec::WeightOp weight(ops::WeightOp source, bool as_linear);
  // Named after the first of `sources` tensors; further ones as "+n", a second buffer of the same sources as "#n".
  std::string weight_name(llvm::StringRef first, size_t sources);
  // The power-of-two scale of every row of `weight` (LinearArgs::w_scale).
  llm::Result<exec::WeightOp> row_scale(exec::WeightOp weight);
  exec::ConstantOp constant(llvm::ArrayRef<float> values);
  const Target& target() const { return target_; }
  mlir::ModuleOp module() const { return module_; }

 private:
  mlir::OpBuilder at_end();
  mlir::ModuleOp module_;
  const Target& target_;
  std::map<std::string, exec::KernelOp> kernels_;
  std::map<std::pair<const void*, bool>, exec::WeightOp> weights_;  // by parts attribute (uniqued by MLIR) and layout
  std::map<std::string, exec::WeightOp> row_scales_;                // by the name of the source
  std::map<std::string, int> weight_names_;
  std::map<const void*, exec::ConstantOp> constants_;
};

// One launch.
class LaunchBuilder {
 public:
  LaunchBuilder(mlir::OpBuilder& builder, ExecSymbols& symbols) : builder_(builder), symbols_(symbols) {}

  LaunchBuilder& read(const View& v) { return pointer(v, exec::kRead); }
  LaunchBuilder& write(const View& v) { return pointer(v, exec::kWrite); }
  LaunchBuilder& read_write(const View& v) { return pointer(v, exec::kReadWrite); }
  // The tensor map of a [rows, cols] matrix that the kernel reads in boxes of box_rows x 128 bytes under the 128-byte swizzle.
  LaunchBuilder& map(const View& v, mlir::Type element, int64_t rows, int64_t cols, int64_t box_rows);
  // One of any form: dims and box in elements, strides in bytes, the innermost first.
  LaunchBuilder& map(const View& v, mlir::Type element, llvm::ArrayRef<int64_t> dims, llvm::ArrayRef<int64_t> strides, llvm::ArrayRef<int64_t> box,
                     int64_t swizzle);
  LaunchBuilder& null();
  LaunchBuilder& i(int64_t value);
  LaunchBuilder& f(double value);

  // Where the launch comes from and what it costs; `op` is the family's name for readers.
  struct Origin {
    std::string layer;
    LinearCost bytes{}, flops{};
    std::string runner_up;
  };
  // Grid: (column tiles, row tiles, z), or (tiles, 1, z) for variants with a flat grid.
  void emit(const llm::Variant& variant, const KernelShape& shape, const Origin& origin, int64_t z = 1);
  // exec.gemm in place of a kernel; its pointers are x, w, out and the workspace.
  void emit_gemm(const KernelShape& shape, mlir::Type element, const Origin& origin);

 private:
  LaunchBuilder& pointer(const View& v, exec::Access access);
  mlir::OpBuilder& builder_;
  ExecSymbols& symbols_;
  llvm::SmallVector<mlir::Value> pointers_;
  llvm::SmallVector<int8_t> access_;
  llvm::SmallVector<mlir::Attribute> slots_;
};

}  // namespace llmc
