#include "compiler/frontend/config_keys.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "compiler/frontend/quote.h"

namespace llmc {
namespace {

struct GraphKey {
  std::string_view key;
  double neutral;  // the number that leaves the graph as it is
};

// Switches of related architectures. A config that carries one with another value describes another model.
constexpr std::array kOtherGraphs = {
    // Granite, MiniCPM, Cohere
    GraphKey{"embedding_multiplier", 1},
    GraphKey{"attention_multiplier", 1},
    GraphKey{"residual_multiplier", 1},
    GraphKey{"logits_scaling", 1},
    GraphKey{"scale_emb", 1},
    GraphKey{"scale_depth", 1},
    GraphKey{"dim_model_base", 0},
    GraphKey{"logit_scale", 1},
    GraphKey{"mup_enabled", 0},
    // Gemma
    GraphKey{"attn_logit_softcapping", 0},
    GraphKey{"final_logit_softcapping", 0},
    GraphKey{"query_pre_attn_scalar", 0},
    GraphKey{"rope_local_base_freq", 0},
    GraphKey{"sliding_window_pattern", 0},
    GraphKey{"hidden_activation", 0},
    // mixture of experts
    GraphKey{"num_experts", 0},
    GraphKey{"num_local_experts", 0},
    GraphKey{"n_routed_experts", 0},
    GraphKey{"moe_intermediate_size", 0},
    // other attention
    GraphKey{"use_qk_norm", 0},
    GraphKey{"qk_layernorm", 0},
    GraphKey{"clip_qkv", 0},
    GraphKey{"kv_lora_rank", 0},
    GraphKey{"q_lora_rank", 0},
    GraphKey{"attention_chunk_size", 0},
    GraphKey{"no_rope_layers", 0},
    GraphKey{"no_rope_layer_interval", 0},
    GraphKey{"rope_interleaved", 0},
    GraphKey{"alibi", 0},
    GraphKey{"attn_output_gate", 0},
    GraphKey{"parallel_attn", 0},
    GraphKey{"qkv_bias", 0},
    GraphKey{"use_bias", 0},
    // other models around the decoder
    GraphKey{"is_encoder_decoder", 0},
    GraphKey{"add_cross_attention", 0},
    GraphKey{"cross_attention_hidden_size", 0},
    GraphKey{"pruned_heads", 0},
    GraphKey{"text_config", 0},
    GraphKey{"vision_config", 0},
    GraphKey{"num_nextn_predict_layers", 0},
};

// Training, generation and housekeeping.
constexpr std::array<std::string_view, 68> kIgnored = {
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "attention_dropout",
    "attn_implementation",
    "auto_map",
    "bad_words_ids",
    "begin_suppress_tokens",
    "chunk_size_feed_forward",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "early_stopping",
    "embd_pdrop",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "hidden_dropout",
    "id2label",
    "initializer_range",
    "is_decoder",
    "label2id",
    "length_penalty",
    "max_length",
    "max_window_layers",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "remove_invalid_values",
    "repetition_penalty",
    "resid_pdrop",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torchscript",
    "transformers_version",
    "transformers.js_config",
    "typical_p",
    "unsloth_fixed",
    "unsloth_version",
    "use_bfloat16",
    "use_cache",
    "use_sliding_window",
    "sliding_window",
    "model_name",
    "gradient_checkpointing",
    "mlp_dropout",
    "hidden_dropout_prob",
    "classifier_dropout",
    "name_or_path",
};

bool is_neutral(const nlohmann::json& value, double neutral) {
  if (value.is_null()) return true;
  if (value.is_boolean()) return !value.get<bool>();
  if (value.is_number()) return value.get<double>() == neutral;
  return value.empty();
}

}  // namespace

void check_remaining_keys(ConfigReader& reader) {
  for (const std::string& key : reader.unread_keys()) {
    const auto* graph_key =
        std::find_if(kOtherGraphs.begin(), kOtherGraphs.end(), [&](const GraphKey& entry) { return entry.key == key; });
    if (graph_key != kOtherGraphs.end()) {
      if (!is_neutral(reader.value(key), graph_key->neutral)) {
        reader.refuse(key, "no such key: it changes the graph in a way that this model family does not have");
      }
    } else if (std::find(kIgnored.begin(), kIgnored.end(), key) == kIgnored.end()) {
      reader.warn("key " + quote(key) + " is not known and was ignored");
    }
  }
}

}  // namespace llmc
