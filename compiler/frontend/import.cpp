#include "compiler/frontend/import.h"

#include <cmath>

#include "dialects/llm/LlmDialect.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/Verifier.h"

namespace llmc {
namespace {

using mlir::RankedTensorType;
using mlir::Type;
using mlir::Value;

Type element_type(mlir::Builder& b, llm::ScalarType type) {
  switch (type) {
    case llm::ScalarType::kF16:
      return b.getF16Type();
    case llm::ScalarType::kBF16:
      return b.getBF16Type();
    case llm::ScalarType::kInt8:
      return b.getI8Type();
    case llm::ScalarType::kF32:
    case llm::ScalarType::kBF16Panels:  // of passes alone
      break;
  }
  return b.getF32Type();
}

ops::PackedAttr packed(mlir::Builder& b, const PackedTensor& p) {
  return ops::PackedAttr::get(b.getContext(), b.getStringAttr(p.tensor.name).getValue(), p.word_bytes, p.bits,
                              p.unit_values, p.unit_words, p.word_stride, p.line_stride, p.order, p.add, p.by_column);
}

ops::ScalesAttr scales(mlir::Builder& b, const ScaleTensor& s) {
  const auto name = [&](const std::optional<TensorInfo>& tensor) {
    return tensor ? b.getStringAttr(tensor->name) : mlir::StringAttr();
  };
  const Type type = s.map ? b.getI8Type() : element_type(b, scalar_type_of(s.tensor.dtype));
  return ops::ScalesAttr::get(b.getContext(), b.getStringAttr(s.tensor.name).getValue(), type, s.row_block,
                              s.row_stride, s.group_stride, s.divisor, name(s.map), name(s.map_scales), s.map_block,
                              s.map ? b.getF64FloatAttr(s.map_offset) : mlir::FloatAttr());
}

class Importer {
 public:
  Importer(mlir::MLIRContext& context, const ModelConfig& config, const ModelWeights& weights,
           const ImportOptions& options)
      : b_(&context),
        config_(config),
        weights_(weights),
        options_(options),
        kv_type_(element_type(b_, options.kv_type)) {}

  llm::Result<mlir::OwningOpRef<mlir::ModuleOp>> run() {
    mlir::OwningOpRef<mlir::ModuleOp> module = mlir::ModuleOp::create(b_.getUnknownLoc());
    b_.setInsertionPointToEnd(module->getBody());
    forward();
    b_.setInsertionPointToEnd(module->getBody());
    sample();
    if (!error_.empty()) return llm::Error{error_};
    if (mlir::failed(mlir::verify(*module))) return llm::Error{"internal: the imported model does not verify"};
    return module;
  }

 private:
  Type activation(int64_t width) { return RankedTensorType::get({mlir::ShapedType::kDynamic, width}, b_.getF32Type()); }
  mlir::Location at(const llvm::Twine& name) { return mlir::NameLoc::get(b_.getStringAttr(name)); }

  // The weight of a role, or null where the model has none.
  Value weight(WeightRole role, int64_t layer = -1) {
    const Weight* w = weights_.find(role, layer);
    if (!w) return {};
    const TensorInfo& t = w->tensor;
    if (w->quantized) return quantized_weight(*w->quantized);
    const int64_t rows = t.shape[0], cols = t.shape.size() == 2 ? t.shape[1] : 1;
    auto part = ops::PartAttr::get(b_.getContext(), b_.getStringAttr(t.name).getValue(), 0, rows, 0, cols);
    auto type = RankedTensorType::get(t.shape, element_type(b_, scalar_type_of(t.dtype)));
    return b_.create<ops::WeightOp>(at(t.name), type, b_.getArrayAttr({part}));
  }

  // The weight of a linear layer: quantized here, where the user wants that.
  Value linear_weight(WeightRole role, int64_t layer) {
    Value dense = weight(role, layer);
    const std::optional<QuantizeScheme>& scheme = options_.quantize;
    if (!scheme || !scheme->covers(role, config_.tie_word_embeddings)) return dense;
    auto op = dense.getDefiningOp<ops::WeightOp>();
    const auto type = mlir::cast<RankedTensorType>(op.getType());
    auto element = ops::QuantizedType::get(b_.getContext(), scheme->code, scheme->group_of(type.getShape()[1]),
                                           type.getElementType(), scheme->zeros, /*ordered=*/false);
    Value quantized =
        b_.create<ops::WeightOp>(op.getLoc(), RankedTensorType::get(type.getShape(), element), op.getParts());
    op.erase();
    return quantized;
  }

  Value quantized_weight(const QuantizedWeight& w) {
    const auto group_of = w.group_of ? b_.getStringAttr(w.group_of->name) : mlir::StringAttr();
    auto part =
        ops::QuantizedPartAttr::get(b_.getContext(), w.rows, packed(b_, w.codes),
                                    w.zeros ? packed(b_, *w.zeros) : ops::PackedAttr(), scales(b_, w.scales), group_of, mlir::StringAttr(), 0);
    auto element = ops::QuantizedType::get(b_.getContext(), w.code, w.group, element_type(b_, scalar_type_of(w.scale)),
                                           w.zeros.has_value(), w.group_of.has_value());
    return b_.create<ops::WeightOp>(at(w.codes.tensor.name), RankedTensorType::get({w.rows, w.cols}, element),
                                    b_.getArrayAttr({part}));
  }

  // x with its columns in the order of a quantized weight's.
  Value in_order_of(const llvm::Twine& name, const QuantizedWeight& w, Value x) {
    auto part = ops::PartAttr::get(b_.getContext(), b_.getStringAttr(w.group_of->name).getValue(), 0, w.cols, 0, 1);
    Value group_of = b_.create<ops::WeightOp>(at(w.group_of->name), RankedTensorType::get({w.cols}, b_.getI32Type()),
                                              b_.getArrayAttr({part}));
    return b_.create<ops::GatherColumnsOp>(at(name + ".columns"), x.getType(), x, group_of,
                                           b_.getI64IntegerAttr(w.group));
  }

  Value linear(const llvm::Twine& name, Value x, WeightRole weight_role, std::optional<WeightRole> bias_role,
               int64_t layer) {
    Value w = linear_weight(weight_role, layer), bias = bias_role ? weight(*bias_role, layer) : Value();
    const Weight* source = weights_.find(weight_role, layer);
    if (source->quantized && source->quantized->group_of) x = in_order_of(name, *source->quantized, x);
    if (bias && !ops::quantized_of(w) && ops::element_of(bias) != ops::element_of(w) && error_.empty())
      error_ = "tensor '" + weights_.find(*bias_role, layer)->tensor.name +
               "' has another type than the weight of its layer";
    const int64_t out = mlir::cast<RankedTensorType>(w.getType()).getShape()[0];
    return b_.create<ops::LinearOp>(at(name), activation(out), x, w, bias);
  }

  Value norm(const llvm::Twine& name, Value x, WeightRole role, int64_t layer = -1) {
    return b_.create<ops::RmsNormOp>(at(name), x.getType(), x, weight(role, layer),
                                     b_.getF64FloatAttr(config_.rms_norm_eps));
  }

  void forward() {
    auto ints = RankedTensorType::get({mlir::ShapedType::kDynamic}, b_.getI32Type());
    auto type =
        b_.getFunctionType({ints, ints, ints}, {activation(config_.vocab_size), activation(config_.hidden_size)});
    auto function = b_.create<mlir::func::FuncOp>(b_.getUnknownLoc(), "forward", type);
    mlir::Block* block = function.addEntryBlock();
    b_.setInsertionPointToEnd(block);
    Value tokens = block->getArgument(0), positions = block->getArgument(1), logit_rows = block->getArgument(2);
    Value ids = b_.create<ops::ResolveIdsOp>(at("tokens"), ints, tokens);
    Value table = weight(WeightRole::kEmbedTokens);
    Value h = b_.create<ops::EmbedOp>(at("embed_tokens"), activation(config_.hidden_size), ids, table);
    for (int64_t layer = 0; layer < config_.num_layers; ++layer) h = decoder_layer(h, positions, layer);
    Value last = b_.create<ops::GatherRowsOp>(at("last_rows"), h.getType(), h, logit_rows);
    Value normed = norm("norm", last, WeightRole::kFinalNorm);
    const WeightRole head = config_.tie_word_embeddings ? WeightRole::kEmbedTokens : WeightRole::kLmHead;
    Value logits = linear("lm_head", normed, head, std::nullopt, -1);
    b_.create<mlir::func::ReturnOp>(b_.getUnknownLoc(), mlir::ValueRange{logits, last});
  }

  Value decoder_layer(Value h, Value positions, int64_t layer) {
    const std::string prefix = "layers." + std::to_string(layer) + ".";
    Value x = norm(prefix + "input_norm", h, WeightRole::kInputNorm, layer);
    h = b_.create<ops::AddOp>(at(prefix + "attention_residual"), h.getType(), h,
                              attention(x, positions, layer, prefix));
    Value y = norm(prefix + "mlp_norm", h, WeightRole::kPostAttentionNorm, layer);
    Value gate = linear(prefix + "gate_proj", y, WeightRole::kGateProj, WeightRole::kGateBias, layer);
    Value up = linear(prefix + "up_proj", y, WeightRole::kUpProj, WeightRole::kUpBias, layer);
    Value active = b_.create<ops::SiluOp>(at(prefix + "silu"), gate.getType(), gate);
    Value product = b_.create<ops::MulOp>(at(prefix + "glu"), gate.getType(), active, up);
    Value down = linear(prefix + "down_proj", product, WeightRole::kDownProj, WeightRole::kDownBias, layer);
    return b_.create<ops::AddOp>(at(prefix + "mlp_residual"), h.getType(), h, down);
  }

  Value attention(Value x, Value positions, int64_t layer, const std::string& prefix) {
    Value q = linear(prefix + "q_proj", x, WeightRole::kQProj, WeightRole::kQBias, layer);
    Value k = linear(prefix + "k_proj", x, WeightRole::kKProj, WeightRole::kKBias, layer);
    Value v = linear(prefix + "v_proj", x, WeightRole::kVProj, WeightRole::kVBias, layer);
    if (config_.qk_norm) {
      q = norm(prefix + "q_norm", q, WeightRole::kQNorm, layer);
      k = norm(prefix + "k_norm", k, WeightRole::kKNorm, layer);
    }
    const int64_t half = static_cast<int64_t>(config_.rope.inv_freq.size());
    Value table = b_.create<ops::RopeTableOp>(at("rope_table"), activation(2 * half), positions,
                                              b_.getDenseF32ArrayAttr(config_.rope.inv_freq),
                                              b_.getF64FloatAttr(config_.rope.attention_scaling));
    auto head_dim = b_.getI64IntegerAttr(config_.head_dim);
    q = b_.create<ops::RopeOp>(at(prefix + "q_rope"), q.getType(), q, table, head_dim);
    k = b_.create<ops::RopeOp>(at(prefix + "k_rope"), k.getType(), k, table, head_dim);
    const int64_t window = config_.sliding_window[static_cast<size_t>(layer)];
    auto cache_type = ops::KvCacheType::get(b_.getContext());
    Value cache = b_.create<ops::KvCacheOp>(at(prefix + "kv_cache"), cache_type, layer, window, config_.num_kv_heads,
                                            config_.head_dim, kv_type_);
    Value written = b_.create<ops::KvWriteOp>(at(prefix + "kv_write"), cache_type, k, v, cache);
    Value out = b_.create<ops::AttentionOp>(
        at(prefix + "attention"), activation(config_.q_size()), q, written, config_.num_heads, config_.num_kv_heads,
        config_.head_dim, window, llvm::APFloat(1.0 / std::sqrt(static_cast<double>(config_.head_dim))), kv_type_);
    return linear(prefix + "o_proj", out, WeightRole::kOProj, WeightRole::kOBias, layer);
  }

  void sample() {
    auto ints = RankedTensorType::get({mlir::ShapedType::kDynamic}, b_.getI32Type());
    auto function = b_.create<mlir::func::FuncOp>(b_.getUnknownLoc(), "sample",
                                                  b_.getFunctionType({activation(config_.vocab_size)}, {ints}));
    mlir::Block* block = function.addEntryBlock();
    b_.setInsertionPointToEnd(block);
    Value ids = b_.create<ops::SampleOp>(at("sample"), ints, block->getArgument(0));
    b_.create<mlir::func::ReturnOp>(b_.getUnknownLoc(), ids);
  }

  mlir::OpBuilder b_;
  const ModelConfig& config_;
  const ModelWeights& weights_;
  const ImportOptions& options_;
  Type kv_type_;
  std::string error_;
};

}  // namespace

llm::ScalarType scalar_type_of(DType dtype) {
  switch (dtype) {
    case DType::kF16:
      return llm::ScalarType::kF16;
    case DType::kBF16:
      return llm::ScalarType::kBF16;
    default:
      return llm::ScalarType::kF32;
  }
}

llm::Result<mlir::OwningOpRef<mlir::ModuleOp>> import_model(mlir::MLIRContext& context, const ModelConfig& config,
                                                            const ModelWeights& weights, const ImportOptions& options) {
  return Importer(context, config, weights, options).run();
}

}  // namespace llmc
