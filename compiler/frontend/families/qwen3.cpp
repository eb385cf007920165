// Qwen3 dense: RMSNorm on every q and k head before RoPE, an explicit head_dim, windows as in Qwen2.
// Source: transformers, models/qwen3.
#include "compiler/frontend/families/decoder.h"

namespace llmc {
namespace {

constexpr int64_t kDefaultKvHeads = 32;   // transformers, Qwen3Config: these two hold when the key is absent
constexpr int64_t kDefaultHeadDim = 128;  // not hidden_size / num_heads

void read(ConfigReader& reader, ModelConfig& config) {
  read_kv_heads(reader, config, kDefaultKvHeads);
  read_head_dim(reader, config, kDefaultHeadDim);
  read_qwen_windows(reader, config);
  config.qk_norm = true;
  const bool attention_bias = reader.boolean_or("attention_bias", false);
  config.bias = {.q = attention_bias, .k = attention_bias, .v = attention_bias, .o = attention_bias};
  refuse_switch(reader, "mlp_bias", "qwen3");
}

}  // namespace

const FamilyInfo kQwen3Family = {Family::kQwen3, "qwen3", "Qwen3ForCausalLM", read, decoder_weights};

}  // namespace llmc
