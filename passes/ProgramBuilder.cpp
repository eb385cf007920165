#include "passes/ProgramBuilder.h"

#include "kernels_templates/abi.h"
#include "passes/Passes.h"

namespace llmc {

using ops::element_of;
using ops::width_of;

std::string layer_name(mlir::Location loc) {
  if (auto name = mlir::dyn_cast<mlir::NameLoc>(loc)) return name.getName().str();
  if (auto fused = mlir::dyn_cast<mlir::FusedLoc>(loc))
    for (mlir::Location inner : fused.getLocations())
      if (std::string name = layer_name(inner); !name.empty()) return name;
  return "";
}

ProgramBuilder::ProgramBuilder(mlir::func::FuncOp function, ExecSymbols& symbols, QuantizedWeights& quantized, const std::vector<KvGroup>& groups)
    : function_(function), symbols_(symbols), quantized_(quantized), groups_(groups), bucket_(bucket_of(function)), builder_(function.getContext()) {
  mlir::ModuleOp module = symbols.module();
  block_tokens_ = module_int(module, "llm.block_tokens", 16);
  max_batch_ = module_int(module, "llm.max_batch", 1);
  table_stride_ = ceil_div(module_int(module, "llm.max_context", 1), block_tokens_);
  vocab_ = module_int(module, "llm.vocab", 1);
  max_logits_ = module_int(module, "llm.max_logits", 1);
}

View ProgramBuilder::weight(mlir::Value v, bool as_linear) {
  if (v.getDefiningOp<ops::DequantizeOp>()) return views_[v];
  return address_of(symbols_.weight(v.getDefiningOp<ops::WeightOp>(), as_linear));
}

View ProgramBuilder::buffer(int64_t bytes, const std::string& layer) {
  View view;
  view.base = builder_.create<exec::BufferOp>(builder_.getUnknownLoc(), exec::PtrType::get(builder_.getContext()), builder_.getI64IntegerAttr(bytes),
                                              builder_.getStringAttr(layer), mlir::IntegerAttr());
  return view;
}

int64_t ProgramBuilder::row_count(mlir::Value v) { return is_logit_rows(v) ? llm_abi::kRowsLogits : llm_abi::kRowsTokens; }

View ProgramBuilder::result(mlir::Value v, int64_t rows) {
  View view;
  view.stride = mlir::cast<mlir::RankedTensorType>(v.getType()).getRank() == 1 ? 1 : width_of(v);
  for (mlir::OpOperand& use : v.getUses())
    if (mlir::isa<mlir::func::ReturnOp>(use.getOwner()) && !function_.getSymName().starts_with("sample"))
      view.base = state(use.getOperandNumber() == 0 ? "logits" : "hidden").base;
  if (!view.base) {
    mlir::Type element = element_of(v);
    const auto int8 = ops::int8_rows_of(v);
    const int64_t bytes = int8 ? int8_layout(int8, rows_of(v), view.stride).bytes : stored_rows(element, rows) * view.stride * element_bytes(element);
    view.base = buffer(bytes, layer_name(v.getLoc())).base;
  }
  views_[v] = view;
  return view;
}

std::array<View, 3> ProgramBuilder::int8_parts(mlir::Value v) {
  const View codes = views_[v];
  const Int8Layout sections = int8_layout(ops::int8_rows_of(v), rows_of(v), width_of(v));
  View scales = codes, sums = codes;
  scales.offset += sections.scales, sums.offset += sections.sums;
  return {codes, scales, sums};
}

namespace {

ops::KvCacheOp cache_of(mlir::Value v) {
  while (mlir::Operation* op = v.getDefiningOp()) {
    if (auto cache = mlir::dyn_cast<ops::KvCacheOp>(op)) return cache;
    if (auto write = mlir::dyn_cast<ops::KvWriteOp>(op)) v = write.getCache();
    if (auto fused = mlir::dyn_cast<ops::RopeKvWriteOp>(op)) v = fused.getCache();
    if (auto fused = mlir::dyn_cast<ops::LinearRopeKvOp>(op)) v = fused.getCache();
  }
  return {};
}

}  // namespace

void ProgramBuilder::kv_view(LaunchBuilder& l, mlir::Value cache, exec::Access access) {
  auto op = cache_of(cache);
  const size_t group = group_of(groups_, op.getLayer());
  View base = kv_base(op.getLayer());
  access == exec::kWrite ? l.read_write(base) : l.read(base);  // a write keeps the other entries
  View table = state("block_table");
  table.offset = static_cast<int64_t>(group) * max_batch_ * table_stride_ * static_cast<int64_t>(sizeof(int32_t));
  l.read(table).i(table_stride_).i(groups_[group].block_bytes(block_tokens_)).i(block_tokens_).i(op.getKvHeads()).i(op.getHeadDim());
}

const llm::Variant* ProgramBuilder::chosen(mlir::Operation* op) {
  auto kernel = op->getAttrOfType<mlir::DictionaryAttr>(kKernelAttr);
  if (!kernel) return nullptr;
  const auto choice = choose_kernel(symbols_.target(), work_of(op, bucket_)->shape, kernel.getAs<mlir::StringAttr>("variant").getValue());
  return choice ? choice->best.variant : nullptr;
}

mlir::LogicalResult ProgramBuilder::emit(LaunchBuilder& l, mlir::Operation* op, int64_t z) {
  const llm::Variant* variant = chosen(op);
  if (!variant) return op->emitError("lower-to-exec: no kernel was selected");
  const std::optional<OpWork> work = work_of(op, bucket_);
  l.emit(*variant, work->shape, origin_of(op, *work), z);
  return mlir::success();
}

LaunchBuilder::Origin ProgramBuilder::origin_of(mlir::Operation* op, const OpWork& work) {
  LaunchBuilder::Origin origin{layer_name(op->getLoc()), work.bytes, work.flops, ""};
  if (auto runner_up = op->getAttrOfType<mlir::DictionaryAttr>(kKernelAttr).getAs<mlir::StringAttr>("runner_up")) origin.runner_up = runner_up.str();
  return origin;
}

mlir::LogicalResult ProgramBuilder::emit_extra(LaunchBuilder& l, const KernelShape& shape, mlir::Operation* near) {
  const auto choice = choose_kernel(symbols_.target(), shape, "");
  if (!choice) return near->emitError(choice.error().message);
  l.emit(*choice->best.variant, shape, {});
  return mlir::success();
}

}  // namespace llmc
