#include "passes/KernelShapes.h"

#include "llvm/ADT/TypeSwitch.h"
#include "passes/QuantizedWeights.h"

namespace llmc {
namespace {

using ops::element_of;
using ops::width_of;

constexpr int kConstant = 0, kTokens = 1, kLogits = 3, kKv = 4;
constexpr double kTypicalContext = 512;  // KV entries per sequence that selection assumes for attention

double row_bytes(mlir::Value v) {
  if (auto int8 = ops::int8_rows_of(v)) return static_cast<double>(int8_layout(int8, kPanelRows, width_of(v)).bytes) / kPanelRows;
  return static_cast<double>(width_of(v) * element_bytes(element_of(v)));
}

double weight_bytes(mlir::Value v) {
  if (auto quantized = ops::quantized_of(v)) {
    const auto shape = mlir::cast<mlir::RankedTensorType>(v.getType()).getShape();
    const auto module = v.getDefiningOp()->getParentOfType<mlir::ModuleOp>();
    const auto layout = llm::quantized_layout(quantized_shape(module, quantized, shape[0], shape[1]));
    return layout ? static_cast<double>(layout->bytes) : 0;
  }
  double bytes = static_cast<double>(element_bytes(element_of(v)));
  for (int64_t d : mlir::cast<mlir::RankedTensorType>(v.getType()).getShape()) bytes *= static_cast<double>(d);
  return bytes;
}

// The traffic of an operation that reads its operands and writes its results once.
void stream(OpWork& work, mlir::Operation* op) {
  for (mlir::Value v : op->getOperands()) {
    if (!mlir::isa<mlir::RankedTensorType>(v.getType())) continue;
    if (v.getDefiningOp<ops::WeightOp>() || v.getDefiningOp<ops::DequantizeOp>())
      work.bytes[kConstant] += weight_bytes(v);
    else
      work.bytes[is_logit_rows(v) ? kLogits : kTokens] += row_bytes(v);
  }
  for (mlir::Value v : op->getResults())
    if (mlir::isa<mlir::RankedTensorType>(v.getType())) work.bytes[is_logit_rows(v) ? kLogits : kTokens] += row_bytes(v);
}

double at_bucket(const LinearCost& c, const Bucket& b) {
  return c[0] + c[1] * static_cast<double>(b.tokens) + c[2] * static_cast<double>(b.seqs) + c[3] * static_cast<double>(b.logits) +
         c[kKv] * static_cast<double>(b.tokens) * kTypicalContext;
}

// The activations of a product.
void add_operand(KernelShape& s, mlir::Value x) {
  if (auto int8 = ops::int8_rows_of(x))
    s.int8_group = int8.getGroup(), s.int8_panels = int8.getPanels();
  else
    s.operand = scalar_type(element_of(x));
}

// Of a product with a quantized weight, or one dequantized.
void add_codes(KernelShape& s, mlir::Value weight) {
  const auto type = ops::quantized_of(weight);
  const auto shape = mlir::cast<mlir::RankedTensorType>(weight.getType()).getShape();
  s.weight = scalar_type(type.getScale()), s.code = type.storage(), s.group = type.getGroup();
  s.fp8_rows = takes_fp8_activations(weight.getDefiningOp()->getParentOfType<mlir::ModuleOp>());
  s.interleave = quantized_order(weight.getDefiningOp()->getParentOfType<mlir::ModuleOp>(), type, shape[0], shape[1]);
}

}  // namespace

Int8Layout int8_layout(ops::Int8RowsType type, int64_t rows, int64_t width) {
  constexpr int64_t kAlignment = 64, kInt8SumColumns = 32;
  const int64_t stored = stored_rows(type, rows), groups = stored * (width / type.getGroup());
  const int64_t sums = type.getPanels() ? groups : stored * (width / kInt8SumColumns);
  Int8Layout layout;
  layout.scales = ceil_div(stored * width, kAlignment) * kAlignment;
  layout.sums = layout.scales + ceil_div(groups * static_cast<int64_t>(sizeof(float)), kAlignment) * kAlignment;
  layout.bytes = layout.sums + sums * static_cast<int64_t>(sizeof(int32_t));
  return layout;
}

bool keeps_float_activations(mlir::ModuleOp module) {
  auto mode = module ? module->getAttrOfType<mlir::StringAttr>(kActivationsAttr) : mlir::StringAttr();
  return mode && mode.getValue() == "f32";
}

bool takes_fp8_activations(mlir::ModuleOp module) {
  auto mode = module ? module->getAttrOfType<mlir::StringAttr>(kActivationsAttr) : mlir::StringAttr();
  return mode && mode.getValue() == "fp8";
}

llm::ScalarType scalar_type(mlir::Type type) {
  if (type.isF16()) return llm::ScalarType::kF16;
  if (type.isBF16()) return llm::ScalarType::kBF16;
  if (mlir::isa<ops::Bf16PanelsType>(type)) return llm::ScalarType::kBF16Panels;
  if (type.isInteger(8)) return llm::ScalarType::kInt8;
  return llm::ScalarType::kF32;
}

mlir::Type element_type(mlir::MLIRContext* context, llm::ScalarType type) {
  switch (type) {
    case llm::ScalarType::kF16: return mlir::Float16Type::get(context);
    case llm::ScalarType::kBF16: return mlir::BFloat16Type::get(context);
    case llm::ScalarType::kBF16Panels: return ops::Bf16PanelsType::get(context);
    case llm::ScalarType::kInt8: return mlir::IntegerType::get(context, 8);
    case llm::ScalarType::kF32: break;
  }
  return mlir::Float32Type::get(context);
}

int64_t element_bytes(mlir::Type type) {
  if (type.isInteger(8)) return 1;
  return type.isF16() || type.isBF16() || mlir::isa<ops::Bf16PanelsType>(type) ? 2 : 4;
}

int64_t kv_entry_bytes(mlir::Type element, int64_t head_dim) {
  const int64_t scale = element.isInteger(8) ? sizeof(float) : 0;
  return head_dim * element_bytes(element) + scale;
}

int64_t stored_rows(mlir::Type type, int64_t rows) {
  const auto int8 = mlir::dyn_cast<ops::Int8RowsType>(type);
  return mlir::isa<ops::Bf16PanelsType>(type) || (int8 && int8.getPanels()) ? ceil_div(rows, kPanelRows) * kPanelRows : rows;
}

bool is_logit_rows(mlir::Value v) {
  mlir::Operation* op = v.getDefiningOp();
  if (!op) {  // the argument of @sample, and the row list of @forward
    auto function = mlir::cast<mlir::func::FuncOp>(v.getParentBlock()->getParentOp());
    return function.getSymName().starts_with("sample") || mlir::cast<mlir::BlockArgument>(v).getArgNumber() == 2;
  }
  if (mlir::isa<ops::GatherRowsOp>(op)) return true;
  if (op->getNumOperands() == 0) return false;
  return is_logit_rows(op->getOperand(0));
}

Bucket bucket_of(mlir::func::FuncOp function) {
  auto bucket = function->getAttrOfType<mlir::DenseI64ArrayAttr>(kBucketAttr);
  return bucket ? Bucket{bucket[0], bucket[1], bucket[2]} : Bucket{1, 1, 1};
}

std::optional<OpWork> work_of(mlir::Operation* op, const Bucket& bucket) {
  OpWork work;
  KernelShape& s = work.shape;
  if (mlir::isa<ops::WeightOp, ops::SliceOp, ops::KvCacheOp, mlir::func::ReturnOp>(op)) return std::nullopt;
  s.family = op->getName().stripDialect().str();
  s.rows = op->getNumResults() > 0 && is_logit_rows(op->getResult(0)) ? bucket.logits : bucket.tokens;
  for (mlir::Value v : op->getResults())
    if (mlir::isa<mlir::RankedTensorType>(v.getType())) s.cols = width_of(v);
  stream(work, op);
  llvm::TypeSwitch<mlir::Operation*>(op)
      .Case([&](ops::ResolveIdsOp) { s.family = "prepare", s.rows = bucket.seqs, s.cols = 1; })
      .Case([&](ops::EmbedOp o) {
        s.weight = scalar_type(element_of(o.getTable()));
        work.bytes = {};
        work.bytes[kTokens] = row_bytes(o.getResult()) + static_cast<double>(width_of(o.getTable()) * element_bytes(element_of(o.getTable())));
      })
      .Case([&](ops::GatherRowsOp o) {
        work.bytes = {};  // the rows that are wanted, not all of them
        work.bytes[kLogits] = sizeof(int32_t) + 2 * row_bytes(o.getX());
      })
      .Case([&](ops::GatherColumnsOp o) { s.operand = scalar_type(element_of(o.getResult())); })
      .Case([&](ops::RmsNormOp o) {
        s.weight = scalar_type(element_of(o.getWeight())), s.operand = scalar_type(element_of(o.getResult()));
      })
      .Case([&](ops::AddRmsNormOp o) {
        s.weight = scalar_type(element_of(o.getWeight())), s.operand = scalar_type(element_of(o.getResult()));
      })
      .Case([&](ops::QuantizeRowsOp o) { s.int8_panels = ops::int8_rows_of(o.getResult()).getPanels(); })
      .Case([&](ops::LinearOp o) {
        s.weight = scalar_type(element_of(o.getWeight()));
        add_operand(s, o.getX());
        s.k = width_of(o.getX());
        s.exact_operands = keeps_float_activations(op->getParentOfType<mlir::ModuleOp>());
        if (ops::quantized_of(o.getWeight())) s.family = "linear_quantized", add_codes(s, o.getWeight());
        work.flops[is_logit_rows(o.getResult()) ? kLogits : kTokens] = 2.0 * static_cast<double>(s.cols) * static_cast<double>(s.k);
      })
      .Case([&](ops::DequantizeOp o) {
        const auto shape = mlir::cast<mlir::RankedTensorType>(o.getResult().getType()).getShape();
        s.operand = scalar_type(element_of(o.getResult())), s.rows = shape[0], s.cols = s.k = shape[1];
        add_codes(s, o.getWeight());
        work.bytes = {weight_bytes(o.getWeight()) + weight_bytes(o.getResult())};
      })
      .Case([&](ops::FusedLinearOp o) {
        s.family = o.isGlu() ? "linear_glu" : o.isAdd() ? "linear_add" : "linear_fused";
        s.cols = width_of(o.getResult());  // not that of the last result
        s.weight = scalar_type(element_of(o.getWeight()));
        add_operand(s, o.getX());
        s.k = width_of(o.getX());
        if (ops::quantized_of(o.getWeight())) {
          s.family = s.int8_group ? "linear_int8_glu" : o.isGlu() ? "quantized_glu" : o.isAdd() ? "quantized_add" : "quantized_fused";
          add_codes(s, o.getWeight());
        }
        const double weight_rows = static_cast<double>(o.isGlu() ? 2 * s.cols : s.cols);
        work.flops[is_logit_rows(o.getResult()) ? kLogits : kTokens] = 2.0 * weight_rows * static_cast<double>(s.k);
      })
      .Case([&](ops::GluOp o) { s.operand = scalar_type(element_of(o.getResult())); })
      .Case([&](ops::MulOp o) { s.operand = scalar_type(element_of(o.getResult())); })
      .Case([&](ops::RopeOp o) { s.head_dim = o.getHeadDim(), s.cols = width_of(o.getX()) / s.head_dim; })
      .Case([&](ops::KvWriteOp o) {
        auto cache = o.getCache().getDefiningOp<ops::KvCacheOp>();
        s.kv = scalar_type(cache.getElement()), s.head_dim = cache.getHeadDim(), s.cols = cache.getKvHeads();
      })
      .Case([&](ops::RopeKvWriteOp o) {
        auto cache = o.getCache().getDefiningOp<ops::KvCacheOp>();
        s.weight = o.getQNorm() ? scalar_type(element_of(o.getQNorm())) : llm::ScalarType::kF32;
        s.kv = scalar_type(cache.getElement()), s.head_dim = o.getHeadDim();
        s.cols = (width_of(o.getQ()) + width_of(o.getK()) + width_of(o.getV())) / s.head_dim;
      })
      .Case([&](ops::LinearRopeKvOp o) {
        s.family = "linear_rope";
        auto cache = o.getCache().getDefiningOp<ops::KvCacheOp>();
        s.weight = scalar_type(element_of(o.getWeight())), s.operand = scalar_type(element_of(o.getX()));
        s.kv = scalar_type(cache.getElement()), s.k = width_of(o.getX());
        s.cols = mlir::cast<mlir::RankedTensorType>(o.getWeight().getType()).getShape()[0];
        // Some kernels rotate whole heads of a length that they are made for.
        if (width_of(o.getTable()) == static_cast<int64_t>(o.getHeadDim())) s.head_dim = o.getHeadDim();
        if (ops::quantized_of(o.getWeight())) s.family = "quantized_rope", add_codes(s, o.getWeight());
        work.flops[kTokens] = 2.0 * static_cast<double>(s.cols) * static_cast<double>(s.k);
      })
      .Case([&](ops::AttentionOp o) {
        s.operand = scalar_type(element_of(o.getResult())), s.kv = scalar_type(o.getKvElement()), s.head_dim = o.getHeadDim();
        s.cols = o.getHeads(), s.k = o.getKvHeads();
        s.exact_operands = keeps_float_activations(op->getParentOfType<mlir::ModuleOp>());
        const double entry = 2.0 * static_cast<double>(o.getKvHeads() * kv_entry_bytes(o.getKvElement(), o.getHeadDim()));
        s.row_tile_bytes = entry * kTypicalContext;
        // A bucket of more tokens than sequences is for prompts, most often of one sequence.
        s.least_row_tiles = bucket.tokens <= bucket.seqs ? bucket.tokens : 1;
        work.flops[kKv] = 4.0 * static_cast<double>(o.getHeads() * o.getHeadDim());
      })
      .Case([&](ops::SampleOp o) { s.cols = 1; });
  s.bytes = at_bucket(work.bytes, bucket);
  s.flops = at_bucket(work.flops, bucket);
  if (s.row_tile_bytes > 0) work.bytes[kKv] = s.row_tile_bytes / kTypicalContext;
  return work;
}

}  // namespace llmc
