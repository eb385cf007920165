#include "compiler/frontend/families/decoder.h"

#include "compiler/frontend/quote.h"

namespace llmc {
namespace {

constexpr int64_t kMaxSize = (int64_t{1} << 31) - 1;
constexpr int64_t kMaxHeadDim = 65536;
constexpr int64_t kQwenDefaultWindow = 4096;         // transformers, Qwen2Config and Qwen3Config
constexpr int64_t kQwenDefaultMaxWindowLayers = 28;  // the same

}  // namespace

void read_kv_heads(ConfigReader& reader, ModelConfig& config, int64_t absent_value) {
  int64_t fallback = config.num_heads;
  if (!reader.present("num_key_value_heads") && absent_value != 0) fallback = absent_value;
  config.num_kv_heads = reader.integer_or("num_key_value_heads", 1, kMaxSize, fallback);
  if (config.num_heads % config.num_kv_heads != 0) {
    reader.refuse("num_key_value_heads", "a divisor of num_attention_heads = " + std::to_string(config.num_heads));
  }
}

void read_head_dim(ConfigReader& reader, ModelConfig& config, int64_t absent_value) {
  int64_t fallback = absent_value;
  if (!reader.has("head_dim") && absent_value == 0) {
    if (config.hidden_size % config.num_heads != 0) {
      reader.fail("key 'hidden_size': found " + std::to_string(config.hidden_size) +
                  ", expected a multiple of num_attention_heads = " + std::to_string(config.num_heads) +
                  ", or a key 'head_dim'");
      config.head_dim = 2;
      return;
    }
    fallback = config.hidden_size / config.num_heads;
  }
  config.head_dim = reader.integer_or("head_dim", 2, kMaxHeadDim, fallback);
  const std::string from = reader.has("head_dim") ? "key 'head_dim'" : "head_dim = hidden_size / num_attention_heads";
  if (config.head_dim % 2 != 0 || config.head_dim > kMaxHeadDim) {
    reader.fail(from + ": found " + std::to_string(config.head_dim) + ", expected an even number up to " +
                std::to_string(kMaxHeadDim));
  }
  if (config.num_heads > kMaxSize / config.head_dim) {
    reader.fail("num_attention_heads * head_dim: found " + std::to_string(config.num_heads) + " * " +
                std::to_string(config.head_dim) + ", expected at most " + std::to_string(kMaxSize));
  }
}

std::vector<std::string> read_layer_types(ConfigReader& reader, const ModelConfig& config) {
  std::vector<std::string> types = reader.strings("layer_types");
  if (!reader.has("layer_types")) return {};
  if (types.size() != static_cast<size_t>(config.num_layers)) {
    reader.fail("key 'layer_types': found " + std::to_string(types.size()) +
                " entries, expected num_hidden_layers = " + std::to_string(config.num_layers));
    return {};
  }
  for (size_t i = 0; i < types.size(); ++i) {
    if (types[i] == "full_attention" || types[i] == "sliding_attention") continue;
    reader.fail("key 'layer_types[" + std::to_string(i) + "]': found " + quote(types[i]) +
                ", expected 'full_attention' or 'sliding_attention'");
    return {};
  }
  return types;
}

void read_full_attention(ConfigReader& reader, ModelConfig& config) {
  const std::vector<std::string> types = read_layer_types(reader, config);
  for (size_t i = 0; i < types.size(); ++i) {
    if (types[i] == "full_attention") continue;
    reader.fail("key 'layer_types[" + std::to_string(i) + "]': found " + quote(types[i]) + ", expected " +
                "'full_attention': " + config.architecture + " has no sliding layers");
  }
  if (reader.has("sliding_window")) {
    reader.warn("key 'sliding_window': " + json_text(reader.value("sliding_window")) + " has no effect in " +
                config.architecture);
  }
  config.sliding_window.assign(config.num_layers, 0);
}

void read_qwen_windows(ConfigReader& reader, ModelConfig& config) {
  const bool use_window = reader.boolean_or("use_sliding_window", false);
  const int64_t first_window_layer = reader.integer_or("max_window_layers", 0, kMaxSize, kQwenDefaultMaxWindowLayers);
  const std::vector<std::string> types = read_layer_types(reader, config);
  config.sliding_window.assign(config.num_layers, 0);
  if (!use_window) {
    // The key is often there all the same, with any value: transformers does not look at it.
    reader.value("sliding_window");
    for (size_t i = 0; i < types.size(); ++i) {
      if (types[i] == "full_attention") continue;
      reader.fail("key 'layer_types[" + std::to_string(i) + "]': found 'sliding_attention' while " +
                  "'use_sliding_window' is not true, expected them to agree");
    }
    return;
  }
  int64_t window = 0;
  if (!reader.present("sliding_window") || reader.has("sliding_window")) {
    window = reader.integer_or("sliding_window", 1, kMaxSize, kQwenDefaultWindow);
  }
  for (int64_t i = 0; i < config.num_layers; ++i) {
    const bool sliding = types.empty() ? i >= first_window_layer : types[i] == "sliding_attention";
    if (!sliding) continue;
    if (window == 0 && !types.empty()) reader.refuse("sliding_window", "a positive integer: 'layer_types' uses it");
    config.sliding_window[i] = window;
  }
}

void refuse_switch(ConfigReader& reader, std::string_view key, std::string_view model_type) {
  if (reader.boolean_or(key, false))
    reader.refuse(key, "false: family " + std::string(model_type) + " has no such part");
}

std::vector<WeightSpec> decoder_weights(const ModelConfig& c) {
  const int64_t hidden = c.hidden_size;
  const int64_t inner = c.intermediate_size;
  std::vector<WeightSpec> out;
  out.push_back({WeightRole::kEmbedTokens, -1, "model.embed_tokens.weight", {c.vocab_size, hidden}});
  for (int64_t layer = 0; layer < c.num_layers; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    auto add = [&](bool wanted, WeightRole role, const char* name, std::vector<int64_t> shape) {
      if (wanted) out.push_back({role, layer, prefix + name, std::move(shape)});
    };
    add(true, WeightRole::kInputNorm, "input_layernorm.weight", {hidden});
    add(true, WeightRole::kQProj, "self_attn.q_proj.weight", {c.q_size(), hidden});
    add(c.bias.q, WeightRole::kQBias, "self_attn.q_proj.bias", {c.q_size()});
    add(true, WeightRole::kKProj, "self_attn.k_proj.weight", {c.kv_size(), hidden});
    add(c.bias.k, WeightRole::kKBias, "self_attn.k_proj.bias", {c.kv_size()});
    add(true, WeightRole::kVProj, "self_attn.v_proj.weight", {c.kv_size(), hidden});
    add(c.bias.v, WeightRole::kVBias, "self_attn.v_proj.bias", {c.kv_size()});
    add(c.qk_norm, WeightRole::kQNorm, "self_attn.q_norm.weight", {c.head_dim});
    add(c.qk_norm, WeightRole::kKNorm, "self_attn.k_norm.weight", {c.head_dim});
    add(true, WeightRole::kOProj, "self_attn.o_proj.weight", {hidden, c.q_size()});
    add(c.bias.o, WeightRole::kOBias, "self_attn.o_proj.bias", {hidden});
    add(true, WeightRole::kPostAttentionNorm, "post_attention_layernorm.weight", {hidden});
    add(true, WeightRole::kGateProj, "mlp.gate_proj.weight", {inner, hidden});
    add(c.bias.mlp, WeightRole::kGateBias, "mlp.gate_proj.bias", {inner});
    add(true, WeightRole::kUpProj, "mlp.up_proj.weight", {inner, hidden});
    add(c.bias.mlp, WeightRole::kUpBias, "mlp.up_proj.bias", {inner});
    add(true, WeightRole::kDownProj, "mlp.down_proj.weight", {hidden, inner});
    add(c.bias.mlp, WeightRole::kDownBias, "mlp.down_proj.bias", {hidden});
  }
  out.push_back({WeightRole::kFinalNorm, -1, "model.norm.weight", {hidden}});
  if (!c.tie_word_embeddings) out.push_back({WeightRole::kLmHead, -1, "lm_head.weight", {c.vocab_size, hidden}});
  return out;
}

}  // namespace llmc
