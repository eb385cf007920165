// Llama 2, 3, 3.1, 3.2, 3.3 and everything saved in their shape (Granite Code, SmolLM2, Yi, ...).
// Source: transformers, models/llama. `pretraining_tp` only splits the same products, so it is ignored.
#include "compiler/frontend/families/decoder.h"

namespace llmc {
namespace {

void read(ConfigReader& reader, ModelConfig& config) {
  read_kv_heads(reader, config, /*absent_value=*/0);
  read_head_dim(reader, config, /*absent_value=*/0);
  read_full_attention(reader, config);
  const bool attention_bias = reader.boolean_or("attention_bias", false);
  config.bias = {.q = attention_bias,
                 .k = attention_bias,
                 .v = attention_bias,
                 .o = attention_bias,
                 .mlp = reader.boolean_or("mlp_bias", false)};
}

}  // namespace

const FamilyInfo kLlamaFamily = {Family::kLlama, "llama", "LlamaForCausalLM", read, decoder_weights};

}  // namespace llmc
