// Mistral 7B, Nemo, Small: Llama without biases, with a window on every layer. Source: transformers, models/mistral.
#include "compiler/frontend/families/decoder.h"

namespace llmc {
namespace {

constexpr int64_t kDefaultKvHeads = 8;  // transformers, MistralConfig: these two hold when the key is absent
constexpr int64_t kDefaultWindow = 4096;
constexpr int64_t kMaxWindow = (int64_t{1} << 31) - 1;

void read_windows(ConfigReader& reader, ModelConfig& config) {
  const int64_t fallback = reader.present("sliding_window") ? 0 : kDefaultWindow;  // null: no window
  const int64_t window = reader.integer_or("sliding_window", 1, kMaxWindow, fallback);
  config.sliding_window.assign(config.num_layers, window);
  // transformers does not look at layer_types here; one that says something else than the window is a contradiction.
  const std::vector<std::string> types = read_layer_types(reader, config);
  const std::string_view expected = window == 0 ? "full_attention" : "sliding_attention";
  for (size_t i = 0; i < types.size(); ++i) {
    if (types[i] == expected) continue;
    reader.fail("key 'layer_types[" + std::to_string(i) + "]': found '" + types[i] + "', expected '" +
                std::string(expected) + "' as 'sliding_window' says: mistral has the same attention in every layer");
  }
}

void read(ConfigReader& reader, ModelConfig& config) {
  read_kv_heads(reader, config, kDefaultKvHeads);
  read_head_dim(reader, config, /*absent_value=*/0);
  read_windows(reader, config);
  refuse_switch(reader, "attention_bias", "mistral");
  refuse_switch(reader, "mlp_bias", "mistral");
}

}  // namespace

const FamilyInfo kMistralFamily = {Family::kMistral, "mistral", "MistralForCausalLM", read, decoder_weights};

}  // namespace llmc
