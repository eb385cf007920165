#include "passes/QuantizedWeights.h"

namespace llmc {
namespace {

constexpr int64_t kBlockRows = 16;  // kRepackRows of kernels_templates/{cuda,x86}/repack.h

// All rows of the blocks that `rows` destination rows from `first_row` on touch.
int64_t touched_rows(int64_t first_row, int64_t rows) {
  return (ceil_div(first_row + rows, kBlockRows) - first_row / kBlockRows) * kBlockRows;
}

}  // namespace

int quantized_order(mlir::ModuleOp module, ops::QuantizedType type, int64_t rows, int64_t cols) {
  constexpr int kRowMajor = 1, kInterleaved = 16;
  constexpr int64_t kFragmentRows = 8, kFragmentColumns = 32;
  const auto name = module ? module->getAttrOfType<mlir::StringAttr>(kTargetAttr) : mlir::StringAttr();
  if (!name) return kRowMajor;
  const auto found = find_target(name.getValue(), nullptr);
  if (!found) return kRowMajor;
  const Target* target = *found;
  if (target->kind == TargetKind::kX86) return kInterleaved;
  const llm::CodeType code = type.storage();
  const bool unpacks = code != llm::CodeType::kU2;
  const bool narrow = !type.getScale().isF32() && !keeps_float_activations(module);
  const bool whole =
      rows % kFragmentRows == 0 && cols % kFragmentColumns == 0 && type.getGroup() % kFragmentColumns == 0;
  const uint32_t products =
      type.getScale().isF16() ? llm::kLdMatrix : llm::kTensorBF16;  // m16n8k8 came with the former
  return (target->features & products) && unpacks && narrow && whole ? kFragmentOrder : kRowMajor;
}

mlir::Type quantized_operand(mlir::ModuleOp module, const Target& target, ops::QuantizedType type, int64_t rows, int64_t cols) {
  const mlir::Type scale = type.getScale();
  if (scale.isF32() || keeps_float_activations(module)) return mlir::Float32Type::get(type.getContext());
  if (scale.isBF16() && quantized_order(module, type, rows, cols) != kFragmentOrder) return mlir::Float32Type::get(type.getContext());
  return element_type(type.getContext(), scale.isF16() ? target.f16_operand : target.bf16_operand);
}

llm::QuantizedShape quantized_shape(mlir::ModuleOp module, ops::QuantizedType type, int64_t rows, int64_t cols) {
  llm::QuantizedShape shape;
  shape.code = type.storage();
  shape.rows = static_cast<uint64_t>(rows), shape.cols = static_cast<uint64_t>(cols);
  shape.group = static_cast<uint64_t>(type.getGroup());
  shape.scale_bytes = static_cast<uint64_t>(element_bytes(type.getScale()));
  shape.zeros = type.getZeros();
  shape.interleave = static_cast<uint64_t>(quantized_order(module, type, rows, cols));
  return shape;
}

llm::QuantizedLayout QuantizedWeights::layout(exec::WeightOp weight) const {
  const auto type = mlir::cast<ops::QuantizedType>(weight.getElement());
  return *llm::quantized_layout(quantized_shape(symbols_.module(), type, static_cast<int64_t>(weight.getRows()),
                                                static_cast<int64_t>(weight.getCols())));
}

int64_t QuantizedWeights::order_of(exec::WeightOp weight) const {
  const auto type = mlir::cast<ops::QuantizedType>(weight.getElement());
  return quantized_order(symbols_.module(), type, static_cast<int64_t>(weight.getRows()),
                         static_cast<int64_t>(weight.getCols()));
}

llm::Result<exec::WeightOp> QuantizedWeights::weight(ops::WeightOp source) {
  exec::WeightOp& op = weights_[source.getParts().getAsOpaquePointer()];
  if (op) return op;
  const auto type = mlir::cast<mlir::RankedTensorType>(source.getType());
  const auto element = mlir::cast<ops::QuantizedType>(type.getElementType());
  const int64_t rows = type.getShape()[0], cols = type.getShape()[1];
  const auto layout = llm::quantized_layout(quantized_shape(symbols_.module(), element, rows, cols));
  const auto first = mlir::dyn_cast<ops::QuantizedPartAttr>(source.getParts()[0]);
  const llvm::StringRef key =
      first ? first.getCodes().getKey() : mlir::cast<ops::PartAttr>(source.getParts()[0]).getKey();
  const std::string name = symbols_.weight_name(key, source.getParts().size());
  if (!layout) return llm::Error{"weight " + name + " is too large"};
  op = add(source.getLoc(), name, source.getParts(), rows, cols, element, "quantized",
           static_cast<int64_t>(layout->bytes));
  int64_t row = 0;
  for (mlir::Attribute attr : source.getParts()) {
    if (const auto part = mlir::dyn_cast<ops::QuantizedPartAttr>(attr)) {
      LLM_TRY(repack(op, part, row));
      row += part.getRows();
      continue;
    }
    const auto part = mlir::cast<ops::PartAttr>(attr);
    LLM_TRY(quantize(op, part, row));
    row += part.getRowEnd() - part.getRowBegin();
  }
  return op;
}

llm::Result<exec::WeightOp> QuantizedWeights::order(llvm::StringRef group_of, int64_t cols, int64_t group) {
  exec::WeightOp& op = orders_[group_of.str()];
  if (op) return op;
  const KernelShape shape{.family = "group_order", .weight = {}, .operand = {}, .kv = {}};
  LLM_ASSIGN(const KernelChoice choice, choose_kernel(symbols_.target(), shape, ""));
  const auto part = ops::PartAttr::get(builder_.getContext(), group_of, 0, cols, 0, 1);
  const int64_t bytes = cols * static_cast<int64_t>(sizeof(int32_t));
  op = add(builder_.getUnknownLoc(), symbols_.weight_name(group_of, 1), builder_.getArrayAttr({part}), cols, 1,
           builder_.getI32Type(), "order", bytes);
  LaunchBuilder l(builder_, symbols_);
  l.read(source(group_of)).write(pointer_to(op)).i(cols).i(group);
  l.emit(*choice.best.variant, shape,
         {.layer = group_of.str(), .bytes = {2.0 * static_cast<double>(bytes)}, .flops = {}, .runner_up = ""});
  return op;
}

exec::WeightOp QuantizedWeights::add(mlir::Location loc, const std::string& name, mlir::ArrayAttr parts, int64_t rows,
                                     int64_t cols, mlir::Type element, llvm::StringRef layout, int64_t bytes) {
  mlir::OpBuilder at(builder_.getContext());
  at.setInsertionPointToEnd(symbols_.module().getBody());
  if (!program_) {
    program_ = at.create<exec::ProgramOp>(loc, "program_init", "init", 1, 1, 1, mlir::IntegerAttr(),
                                          mlir::FlatSymbolRefAttr());
    builder_.setInsertionPointToStart(&program_.getBody().emplaceBlock());
  }
  return at.create<exec::WeightOp>(loc, name, parts, rows, cols, element, layout, bytes, mlir::FlatSymbolRefAttr(),
                                   mlir::FlatSymbolRefAttr());
}

View QuantizedWeights::source(llvm::StringRef key) {
  mlir::Value& value = sources_[key.str()];
  if (!value)
    value = builder_.create<exec::SourceOp>(builder_.getUnknownLoc(), exec::PtrType::get(builder_.getContext()),
                                            builder_.getStringAttr(key));
  return {.base = value};
}

View QuantizedWeights::pointer_to(exec::WeightOp weight) {
  mlir::Value& value = pointers_[weight.getSymName().str()];
  if (!value)
    value = builder_.create<exec::WeightPtrOp>(builder_.getUnknownLoc(), exec::PtrType::get(builder_.getContext()),
                                               mlir::FlatSymbolRefAttr::get(weight));
  return {.base = value};
}

// The fields of PackedView, in their order.
void QuantizedWeights::packed(LaunchBuilder& l, ops::PackedAttr v) {
  if (!v) {
    l.null().i(1).i(1).i(1).i(1).i(0).i(0).i(0).i(0).i(0);
    return;
  }
  l.read(source(v.getKey()))
      .i(v.getWordBytes())
      .i(v.getBits())
      .i(v.getUnitValues())
      .i(v.getUnitWords())
      .i(v.getWordStride());
  l.i(v.getLineStride()).i(v.getOrder()).i(v.getAdd()).i(v.getByColumn());
}

// The fields of ScaleView, in their order.
void QuantizedWeights::scales(LaunchBuilder& l, ops::ScalesAttr v) {
  const auto optional = [&](mlir::StringAttr key) { key ? l.read(source(key.getValue())) : l.null(); };
  l.read(source(v.getKey())).i(static_cast<int64_t>(scalar_type(v.getType())));
  l.i(v.getRowBlock()).i(v.getRowStride()).i(v.getGroupStride()).f(static_cast<double>(v.getDivisor()));
  optional(v.getMap()), optional(v.getMapScales());
  l.i(v.getMapBlock()).f(v.getMapOffset() ? v.getMapOffset().getValueAsDouble() : 0.0);
}

llm::Status QuantizedWeights::quantize(exec::WeightOp weight, ops::PartAttr part, int64_t first_row) {
  const auto type = mlir::cast<ops::QuantizedType>(weight.getElement());
  const int64_t rows = part.getRowEnd() - part.getRowBegin(), cols = static_cast<int64_t>(weight.getCols());
  const llm::QuantizedLayout sections = layout(weight);
  KernelShape shape{.family = "quantize", .weight = scalar_type(type.getScale()), .operand = {}, .kv = {}};
  shape.code = type.storage(), shape.group = type.getGroup();
  shape.rows = touched_rows(first_row, rows);
  LLM_ASSIGN(const KernelChoice choice, choose_kernel(symbols_.target(), shape, ""));
  const View codes = pointer_to(weight);
  LaunchBuilder l(builder_, symbols_);
  // Tensors of a dense checkpoint are as wide as their weight.
  l.read(source(part.getKey())).i(static_cast<int64_t>(scalar_type(type.getScale())));
  l.i(part.getRowBegin() * cols).i(cols);
  l.write(codes).write({.base = codes.base, .offset = static_cast<int64_t>(sections.scales)});
  type.getZeros() ? l.write({.base = codes.base, .offset = static_cast<int64_t>(sections.zeros)}) : l.null();
  l.i(rows).i(cols).i(type.getGroup()).i(first_row).i(order_of(weight));
  const double written =
      static_cast<double>(sections.bytes) * static_cast<double>(rows) / static_cast<double>(weight.getRows());
  const double read = static_cast<double>(rows * cols * element_bytes(type.getScale()));
  l.emit(*choice.best.variant, shape,
         {.layer = part.getKey().str(), .bytes = {read + written}, .flops = {}, .runner_up = ""});
  return {};
}

llm::Status QuantizedWeights::repack(exec::WeightOp weight, ops::QuantizedPartAttr part, int64_t first_row) {
  const auto type = mlir::cast<ops::QuantizedType>(weight.getElement());
  const auto cols = static_cast<int64_t>(weight.getCols());
  const llm::QuantizedLayout sections = layout(weight);
  KernelShape shape{.family = "repack", .weight = scalar_type(type.getScale()), .operand = {}, .kv = {}};
  shape.rows = touched_rows(first_row, part.getRows());
  LLM_ASSIGN(const KernelChoice choice, choose_kernel(symbols_.target(), shape, ""));
  View order, row_order;
  if (part.getGroupOf()) {
    LLM_ASSIGN(const exec::WeightOp columns, this->order(part.getGroupOf().getValue(), cols, type.getGroup()));
    order = pointer_to(columns);
  }
  if (part.getRowsBy()) {
    LLM_ASSIGN(const exec::WeightOp rows, this->order(part.getRowsBy().getValue(), part.getRows(), part.getRowGroup()));
    row_order = pointer_to(rows);
  }
  const View codes = pointer_to(weight);
  LaunchBuilder l(builder_, symbols_);
  packed(l, part.getCodes());
  packed(l, part.getZeros());
  scales(l, part.getScales());
  order.base ? l.read(order) : l.null();
  row_order.base ? l.read(row_order) : l.null();
  l.write(codes).write({.base = codes.base, .offset = static_cast<int64_t>(sections.scales)});
  type.getZeros() ? l.write({.base = codes.base, .offset = static_cast<int64_t>(sections.zeros)}) : l.null();
  l.i(part.getRows()).i(cols).i(type.getGroup()).i(type.storedBits()).i(first_row);
  l.i(order_of(weight));
  // The checkpoint's bytes and those written, about the same.
  const double bytes = 2.0 * static_cast<double>(sections.bytes) * static_cast<double>(part.getRows()) /
                       static_cast<double>(weight.getRows());
  l.emit(*choice.best.variant, shape,
         {.layer = part.getCodes().getKey().str(), .bytes = {bytes}, .flops = {}, .runner_up = ""});
  return {};
}

}  // namespace llmc
