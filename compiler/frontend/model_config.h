// What a config.json says about the graph, in terms that no longer depend on the model family or on the transformers
// generation that wrote it. Every key that changes the graph is honoured or refused by name and value; keys that are
// known not to matter are listed in config_keys.cpp; any other key gives a warning.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/frontend/dtype.h"
#include "compiler/frontend/quantization/quantization_config.h"
#include "compiler/frontend/rope.h"
#include "plan/result.h"

namespace llmc {

enum class Family { kLlama, kMistral, kQwen2, kQwen3 };

// Each linear layer that has a bias vector.
struct BiasFlags {
  bool q = false;
  bool k = false;
  bool v = false;
  bool o = false;
  bool mlp = false;  // gate, up and down
};

struct ModelConfig {
  Family family = Family::kLlama;
  std::string architecture;  // "LlamaForCausalLM"

  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads =
      0;                 // divides num_heads; kv head j serves query heads j*g .. j*g+g-1, g = num_heads/num_kv_heads
  int64_t head_dim = 0;  // even; not always hidden_size / num_heads
  int64_t max_position_embeddings = 0;

  double rms_norm_eps = 0.0;
  bool tie_word_embeddings = false;  // the head is embed_tokens
  BiasFlags bias;
  bool qk_norm = false;    // RMSNorm of each q and k head, before RoPE, weight [head_dim]
  std::string hidden_act;  // "silu", the only one so far

  // [num_layers]; 0: full attention; w: the query at position p sees keys p-w+1 .. p
  std::vector<int64_t> sliding_window;

  Rope rope;

  std::optional<QuantizationConfig> quantization;  // none: all weights are of floating-point types

  std::optional<DType> dtype;  // `torch_dtype` or `dtype` of the config; the checkpoint decides, not this
  std::vector<int64_t> eos_token_ids;
  std::optional<int64_t> bos_token_id;
  std::optional<int64_t> pad_token_id;

  std::vector<std::string> warnings;  // whole lines, each naming the file

  int64_t q_size() const { return num_heads * head_dim; }
  int64_t kv_size() const { return num_kv_heads * head_dim; }
};

struct ConfigOptions {
  int64_t max_context = 0;  // positions the plan is compiled for, 0 for max_position_embeddings; see rope.h
};

// `path` only names the file in errors and warnings. The other text is that of a file with the quantization alone.
struct QuantizationFile {
  std::string text, path;
};
llm::Result<ModelConfig> parse_model_config(std::string_view json, const std::string& path,
                                            const ConfigOptions& options = {},
                                            const std::optional<QuantizationFile>& quantization = {});

// Reads MODEL_DIR/config.json and, if that says nothing about quantization, MODEL_DIR/quantize_config.json (GPTQ) or
// quant_config.json (AWQ).
llm::Result<ModelConfig> load_model_config(const std::string& model_dir, const ConfigOptions& options = {});

}  // namespace llmc
