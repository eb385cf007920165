#include "passes/LaunchBuilder.h"

namespace llmc {
namespace {

constexpr int64_t kInterleavedRows = 16;  // rows that the x86 layout interleaves (kernels_templates/x86/pack.h)

int64_t round_up(int64_t n, int64_t m) { return (n + m - 1) / m * m; }

}  // namespace

mlir::OpBuilder ExecSymbols::at_end() {
  mlir::OpBuilder b(module_.getContext());
  b.setInsertionPointToEnd(module_.getBody());
  return b;
}

exec::KernelOp ExecSymbols::kernel(const llm::Variant& v, const KernelShape& shape) {
  exec::KernelOp& op = kernels_[entry_name(v, shape)];
  if (!op) {
    mlir::OpBuilder b = at_end();
    const auto type = [&](uint32_t mask, const std::optional<llm::ScalarType>& t) {
      return mask && t ? mlir::TypeAttr::get(element_type(b.getContext(), *t)) : mlir::TypeAttr();
    };
    op = b.create<exec::KernelOp>(b.getUnknownLoc(), entry_name(v, shape), v.family, v.name, v.file, instance_name(v, shape),
                                  static_cast<uint64_t>(v.threads), static_cast<uint64_t>(v.shared_bytes), type(v.weight_types, shape.weight),
                                  type(v.operand_types, shape.operand), type(v.kv_types, shape.kv),
                                  *v.head_dims ? b.getI64IntegerAttr(shape.head_dim) : mlir::IntegerAttr());
  }
  return op;
}

std::string ExecSymbols::weight_name(llvm::StringRef first, size_t sources) {
  std::string name = first.str();
  if (sources > 1) name += "+" + std::to_string(sources - 1);
  if (const int n = weight_names_[name]++; n > 0) name += "#" + std::to_string(n);
  return name;
}

exec::WeightOp ExecSymbols::weight(ops::WeightOp source, bool as_linear) {
  const bool interleaved = as_linear && target_.kind == TargetKind::kX86;
  exec::WeightOp& op = weights_[{source.getParts().getAsOpaquePointer(), interleaved}];
  if (op) return op;
  mlir::OpBuilder b = at_end();
  auto type = mlir::cast<mlir::RankedTensorType>(source.getType());
  const int64_t rows = type.getShape()[0], cols = type.getRank() == 2 ? type.getShape()[1] : 1;
  const int64_t element = element_bytes(type.getElementType());
  int64_t bytes = rows * cols * element;
  mlir::FlatSymbolRefAttr init;
  if (interleaved) {
    bytes = round_up(rows, kInterleavedRows) * round_up(cols, 4 / element) * element;
    KernelShape shape{.family = "pack", .weight = scalar_type(type.getElementType()), .operand = {}, .kv = {}};
    if (const auto choice = choose_kernel(target_, shape, "")) init = mlir::FlatSymbolRefAttr::get(kernel(*choice->best.variant, shape));
  }
  const std::string name = weight_name(mlir::cast<ops::PartAttr>(source.getParts()[0]).getKey(), source.getParts().size());
  op = b.create<exec::WeightOp>(source.getLoc(), name, source.getParts(), rows, cols, type.getElementType(),
                                interleaved ? "interleaved16" : "rows", bytes, init, mlir::FlatSymbolRefAttr());
  return op;
}

llm::Result<exec::WeightOp> ExecSymbols::row_scale(exec::WeightOp weight) {
  exec::WeightOp& op = row_scales_[weight.getSymName().str()];
  if (op) return op;
  const KernelShape shape{.family = "row_scale", .weight = scalar_type(weight.getElement()), .operand = {}, .kv = {}};
  LLM_ASSIGN(const KernelChoice choice, choose_kernel(target_, shape, ""));
  mlir::OpBuilder b = at_end();
  auto init = mlir::FlatSymbolRefAttr::get(kernel(*choice.best.variant, shape));
  op = b.create<exec::WeightOp>(weight.getLoc(), weight.getSymName().str() + ".row_scale", weight.getParts(), weight.getRows(), weight.getCols(),
                                b.getF32Type(), "row_scale", weight.getRows() * sizeof(float), init, mlir::FlatSymbolRefAttr::get(weight));
  return op;
}

exec::ConstantOp ExecSymbols::constant(llvm::ArrayRef<float> values) {
  mlir::OpBuilder b = at_end();
  auto attr = b.getDenseF32ArrayAttr(values);
  exec::ConstantOp& op = constants_[attr.getAsOpaquePointer()];
  if (!op) op = b.create<exec::ConstantOp>(b.getUnknownLoc(), "constant_" + std::to_string(constants_.size() - 1), attr);
  return op;
}

LaunchBuilder& LaunchBuilder::pointer(const View& v, exec::Access access) {
  slots_.push_back(exec::SlotAttr::get(builder_.getContext(), static_cast<int64_t>(pointers_.size()), v.offset));
  pointers_.push_back(v.base);
  access_.push_back(access);
  return *this;
}

LaunchBuilder& LaunchBuilder::map(const View& v, mlir::Type element, int64_t rows, int64_t cols, int64_t box_rows) {
  constexpr int64_t kBoxBytes = 128;
  const int64_t bytes = element_bytes(element), stride = (v.stride ? v.stride : cols) * bytes;
  return map(v, element, {cols, rows}, {stride}, {kBoxBytes / bytes, box_rows}, kBoxBytes);
}

LaunchBuilder& LaunchBuilder::map(const View& v, mlir::Type element, llvm::ArrayRef<int64_t> dims, llvm::ArrayRef<int64_t> strides,
                                  llvm::ArrayRef<int64_t> box, int64_t swizzle) {
  slots_.push_back(exec::TensorMapAttr::get(builder_.getContext(), static_cast<int64_t>(pointers_.size()), v.offset, element, dims, strides, box, swizzle));
  pointers_.push_back(v.base);
  access_.push_back(exec::kRead);
  return *this;
}

LaunchBuilder& LaunchBuilder::null() {
  slots_.push_back(builder_.getUnitAttr());
  return *this;
}

LaunchBuilder& LaunchBuilder::i(int64_t value) {
  slots_.push_back(builder_.getI64IntegerAttr(value));
  return *this;
}

LaunchBuilder& LaunchBuilder::f(double value) {
  slots_.push_back(builder_.getF64FloatAttr(value));
  return *this;
}

void LaunchBuilder::emit(const llm::Variant& v, const KernelShape& shape, const Origin& origin, int64_t z) {
  int64_t grid[3] = {v.tile_cols ? ceil_div(shape.cols, v.tile_cols) : 1, v.tile_rows ? ceil_div(shape.rows, v.tile_rows) : 1, z};
  if (v.head_chunk) grid[0] = head_tiles(v, shape.cols, shape.k);
  if (v.flat_grid) grid[0] *= ceil_div(grid[1], row_tile_cluster(v)) * row_tile_cluster(v) * v.k_splits, grid[1] = 1;
  exec::KernelOp kernel = symbols_.kernel(v, shape);
  builder_.create<exec::LaunchOp>(builder_.getUnknownLoc(), mlir::FlatSymbolRefAttr::get(kernel), pointers_,
                                  builder_.getDenseI64ArrayAttr(grid), builder_.getArrayAttr(slots_), builder_.getDenseI8ArrayAttr(access_),
                                  builder_.getStringAttr(shape.family), builder_.getStringAttr(origin.layer),
                                  builder_.getDenseF64ArrayAttr(origin.bytes), builder_.getDenseF64ArrayAttr(origin.flops),
                                  mlir::DenseI64ArrayAttr(),
                                  origin.runner_up.empty() ? mlir::StringAttr() : builder_.getStringAttr(origin.runner_up),
                                  v.blocks_per_sm ? builder_.getI64IntegerAttr(v.blocks_per_sm) : mlir::IntegerAttr(), mlir::UnitAttr());
}

void LaunchBuilder::emit_gemm(const KernelShape& shape, mlir::Type element, const Origin& origin) {
  builder_.create<exec::GemmOp>(builder_.getUnknownLoc(), pointers_, element, shape.rows, shape.cols, shape.k, builder_.getArrayAttr(slots_),
                                builder_.getDenseI8ArrayAttr(access_), builder_.getStringAttr(shape.family), builder_.getStringAttr(origin.layer),
                                builder_.getDenseF64ArrayAttr(origin.bytes), builder_.getDenseF64ArrayAttr(origin.flops),
                                mlir::DenseI64ArrayAttr(),
                                origin.runner_up.empty() ? mlir::StringAttr() : builder_.getStringAttr(origin.runner_up));
}

}  // namespace llmc
