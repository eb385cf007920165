// Qwen2 and Qwen2.5: biases on q, k and v always, on nothing else; windows from one layer on, when switched on.
// Source: transformers, models/qwen2.
#include "compiler/frontend/families/decoder.h"

namespace llmc {
namespace {

constexpr int64_t kDefaultKvHeads = 32;  // transformers, Qwen2Config, when the key is absent

void read(ConfigReader& reader, ModelConfig& config) {
  read_kv_heads(reader, config, kDefaultKvHeads);
  read_head_dim(reader, config, /*absent_value=*/0);
  read_qwen_windows(reader, config);
  config.bias = {.q = true, .k = true, .v = true};
  if (reader.has("attention_bias")) reader.warn("key 'attention_bias' has no effect: qwen2 has biases on q, k and v");
  reader.boolean_or("attention_bias", true);
  refuse_switch(reader, "mlp_bias", "qwen2");
}

}  // namespace

const FamilyInfo kQwen2Family = {Family::kQwen2, "qwen2", "Qwen2ForCausalLM", read, decoder_weights};

}  // namespace llmc
