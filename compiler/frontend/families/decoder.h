// What the families of the Llama lineage share: pieces of config reading, and the names and shapes of the tensors.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "compiler/frontend/families/families.h"

namespace llmc {

// `num_key_value_heads`: absent gives `absent_value` (0: num_heads), null gives num_heads, as in transformers. Must
// divide num_heads.
void read_kv_heads(ConfigReader& reader, ModelConfig& config, int64_t absent_value);

// `head_dim`: null or absent gives `absent_value` (0: hidden_size / num_heads, which must be whole). Must be even.
void read_head_dim(ConfigReader& reader, ModelConfig& config, int64_t absent_value);

// Every layer attends to everything; `layer_types`, if present, must say the same.
void read_full_attention(ConfigReader& reader, ModelConfig& config);

// Qwen2 and Qwen3: `layer_types` if present, else `use_sliding_window` and layers from `max_window_layers` on.
void read_qwen_windows(ConfigReader& reader, ModelConfig& config);

// `layer_types`, checked: one known name per layer; empty when absent.
std::vector<std::string> read_layer_types(ConfigReader& reader, const ModelConfig& config);

// A switch that this family does not have: anything but false or null is refused.
void refuse_switch(ConfigReader& reader, std::string_view key, std::string_view model_type);

// Every tensor of a Llama-shaped model as the flags of `config` say, in graph order.
std::vector<WeightSpec> decoder_weights(const ModelConfig& config);

}  // namespace llmc
