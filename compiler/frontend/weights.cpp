#include "compiler/frontend/weights.h"

#include <algorithm>
#include <string_view>
#include <unordered_set>

#include "compiler/frontend/quantization/quantized_modules.h"
#include "compiler/frontend/quote.h"

namespace llmc {
namespace {

constexpr std::string_view kPrefix = "model.";

// Base-model checkpoints (LlamaModel instead of LlamaForCausalLM) are saved without the prefix.
std::string name_in_checkpoint(const std::string& name, bool with_prefix) {
  return !with_prefix && name.starts_with(kPrefix) ? name.substr(kPrefix.size()) : name;
}

// "model.layers.0.self_attn.q_proj" of its weight.
std::string module_of(std::string_view name) { return std::string(name.substr(0, name.rfind('.'))); }

bool is_linear(WeightRole role) { return !is_norm(role) && !is_bias(role) && role != WeightRole::kEmbedTokens; }

std::string where(const Checkpoint& checkpoint, const TensorInfo& tensor) {
  return checkpoint.files()[tensor.file].path + ": tensor " + quote(tensor.name) + ": ";
}

llm::Error missing(const Checkpoint& checkpoint, const WeightSpec& spec, const std::string& name) {
  std::string fix;
  if (spec.role == WeightRole::kLmHead) fix = "; a model without a head of its own has 'tie_word_embeddings': true";
  if (is_bias(spec.role)) fix = "; config.json or the family says that this layer has a bias";
  return {checkpoint.files()[0].path + (checkpoint.files().size() > 1 ? " and the other shards" : "") + ": tensor " +
          quote(name) + " is missing, expected shape " + shape_text(spec.shape) + fix};
}

bool is_supported(DType dtype) { return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16; }

llm::Status check_tensor(const Checkpoint& checkpoint, const WeightSpec& spec, const TensorInfo& tensor) {
  if (tensor.shape != spec.shape) {
    return llm::Error{where(checkpoint, tensor) + "found shape " + shape_text(tensor.shape) + ", expected " +
                      shape_text(spec.shape) + " from config.json"};
  }
  if (!is_supported(tensor.dtype)) {
    return llm::Error{where(checkpoint, tensor) + "found dtype " + std::string(dtype_name(tensor.dtype)) +
                      ", expected F32, F16 or BF16"};
  }
  return {};
}

// Tensors that old transformers saved although they follow from the config.
bool is_computed(std::string_view name) { return name.ends_with("rotary_emb.inv_freq"); }

// Of a quantized KV cache, whose type --kv-dtype decides.
bool is_kv_scale(std::string_view name) {
  return name.ends_with(".k_scale") || name.ends_with(".v_scale") || name.ends_with(".k_proj.output_scale") ||
         name.ends_with(".v_proj.output_scale");
}

// AutoGPTQ writes biases that a model does not have, as zeros.
bool is_zero_bias(const Checkpoint& checkpoint, const TensorInfo& tensor) {
  constexpr uint64_t kMaxBiasBytes = 1 << 24;
  if (!std::string_view(tensor.name).ends_with(".bias") || tensor.shape.size() != 1 || tensor.bytes() > kMaxBiasBytes)
    return false;
  const auto bytes = checkpoint.read(tensor);
  return bytes && std::all_of(bytes->begin(), bytes->end(), [](std::byte b) { return b == std::byte{0}; });
}

// transformers ties only where the two tensors are equal, and keeps a stored head that differs. Comparing samples of
// them needs no more than headers-and-ranges reading, and a trained head differs everywhere.
llm::Status check_tied_head(const Checkpoint& checkpoint, const TensorInfo& head, const TensorInfo& embedding) {
  constexpr uint64_t kSamples = 32;
  constexpr uint64_t kSampleBytes = 4096;
  bool equal = head.dtype == embedding.dtype && head.shape == embedding.shape;
  const uint64_t sample_bytes = std::min(kSampleBytes, embedding.bytes());
  const uint64_t last = embedding.bytes() - sample_bytes;
  for (uint64_t i = 0; equal && i < kSamples; ++i) {
    const uint64_t offset = last / (kSamples - 1) * i;
    LLM_ASSIGN(const std::vector<std::byte> a, checkpoint.read_range(head, offset, sample_bytes));
    LLM_ASSIGN(const std::vector<std::byte> b, checkpoint.read_range(embedding, offset, sample_bytes));
    equal = a == b;
  }
  if (equal) return {};
  return llm::Error{where(checkpoint, head) + "differs from " + quote(embedding.name) +
                    ", expected a copy of it as config.json has 'tie_word_embeddings': true; set that to false"};
}

llm::Error unused(const Checkpoint& checkpoint, const TensorInfo& tensor, size_t others) {
  std::string message = where(checkpoint, tensor) + "found with shape " + shape_text(tensor.shape) +
                        ", expected no such tensor: the graph that config.json describes does not use it";
  if (std::string_view(tensor.name).ends_with(".bias")) {
    message += ", and dropping a bias gives wrong text; check attention_bias and mlp_bias in config.json";
  }
  if (others > 0) message += " (and " + std::to_string(others) + " more)";
  return {message};
}

}  // namespace

void ModelWeights::add(Weight weight) {
  const auto row = static_cast<size_t>(weight.layer + 1);
  while (index_.size() <= row) index_.emplace_back().fill(-1);
  index_[row][static_cast<size_t>(weight.role)] = static_cast<int32_t>(weights_.size());
  if (!weight.quantized) sources_.push_back(weight.tensor);
  weights_.push_back(std::move(weight));
}

void ModelWeights::add_quantized(WeightRole role, int64_t layer, QuantizedWeight weight) {
  sources_.push_back(weight.codes.tensor);
  sources_.push_back(weight.scales.tensor);
  if (weight.zeros) sources_.push_back(weight.zeros->tensor);
  for (const auto& tensor : {weight.scales.map, weight.scales.map_scales, weight.group_of})
    if (tensor) sources_.push_back(*tensor);
  ignored_.insert(ignored_.end(), weight.spare.begin(), weight.spare.end());
  warnings_.insert(warnings_.end(), weight.warnings.begin(), weight.warnings.end());
  const TensorInfo codes = weight.codes.tensor;
  add({role, layer, codes, std::move(weight)});
}

const Weight* ModelWeights::find(WeightRole role, int64_t layer) const {
  if (layer < -1 || layer + 1 >= static_cast<int64_t>(index_.size())) return nullptr;
  const int32_t found = index_[static_cast<size_t>(layer + 1)][static_cast<size_t>(role)];
  return found < 0 ? nullptr : &weights_[static_cast<size_t>(found)];
}

llm::Result<ModelWeights> match_weights(const ModelConfig& config, const Checkpoint& checkpoint) {
  const bool with_prefix = checkpoint.find("embed_tokens.weight") == nullptr;
  ModelWeights out;
  std::unordered_set<std::string_view> used;
  const TensorInfo* first_linear = nullptr;
  std::optional<QuantizedModules> quantized;
  if (config.quantization) quantized.emplace(checkpoint, *config.quantization);
  for (const WeightSpec& spec : family_info(config.family).weights(config)) {
    const std::string name = name_in_checkpoint(spec.name, with_prefix);
    if (quantized && is_linear(spec.role)) {
      LLM_ASSIGN(auto weight, quantized->read(module_of(spec.name), module_of(name), spec.shape[0], spec.shape[1]));
      if (weight) {
        out.add_quantized(spec.role, spec.layer, std::move(*weight));
        continue;
      }
    }
    const TensorInfo* tensor = checkpoint.find(name);
    if (!tensor) return missing(checkpoint, spec, name);
    LLM_TRY(check_tensor(checkpoint, spec, *tensor));
    if (!is_norm(spec.role) && !is_bias(spec.role)) {
      if (!first_linear) first_linear = tensor;
      if (tensor->dtype != first_linear->dtype) {
        return llm::Error{where(checkpoint, *tensor) + "found dtype " + std::string(dtype_name(tensor->dtype)) +
                          ", expected " + std::string(dtype_name(first_linear->dtype)) + " as in " +
                          quote(first_linear->name)};
      }
    }
    out.add({spec.role, spec.layer, *tensor, {}});
  }
  for (const TensorInfo& tensor : out.sources_) used.insert(tensor.name);
  out.linear_dtype_ = first_linear->dtype;

  constexpr std::string_view kHead = "lm_head.weight";
  const TensorInfo* spare_head = config.tie_word_embeddings ? checkpoint.find(kHead) : nullptr;
  if (spare_head) LLM_TRY(check_tied_head(checkpoint, *spare_head, out.find(WeightRole::kEmbedTokens)->tensor));

  for (const std::string& name : out.ignored_) used.insert(name);

  const TensorInfo* first_unused = nullptr;
  size_t unused_count = 0;
  checkpoint.for_each([&](const TensorInfo& tensor) {
    if (used.contains(tensor.name)) return;
    const bool beside_quantized = quantized && (is_kv_scale(tensor.name) || is_zero_bias(checkpoint, tensor));
    if (is_computed(tensor.name) || beside_quantized || (spare_head && tensor.name == kHead)) {
      out.ignored_.push_back(tensor.name);
      return;
    }
    if (!first_unused) first_unused = &tensor;
    ++unused_count;
  });
  if (first_unused) return unused(checkpoint, *first_unused, unused_count - 1);
  return out;
}

}  // namespace llmc
