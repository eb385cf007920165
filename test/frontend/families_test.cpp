// What each family makes of its config.json, key by key.
#include "compiler/frontend/families/families.h"

#include <set>

#include "test/frontend/test_model.h"

namespace llmc::test {
namespace {

using nlohmann::json;

ModelConfig parse_patched(const std::string& model_type, const json& patch) {
  json config = config_json(model_type);
  config.merge_patch(patch);
  auto parsed = parse(config);
  EXPECT_TRUE(parsed.ok()) << parsed.error().message;
  return parsed.ok() ? std::move(*parsed) : ModelConfig{};
}

std::set<std::string> weight_names(const ModelConfig& config) {
  std::set<std::string> names;
  for (const WeightSpec& spec : family_info(config.family).weights(config)) names.insert(spec.name);
  return names;
}

TEST(Families, CommonFields) {
  const ModelConfig c = parse_patched("llama", {{"eos_token_id", {7, 9}}, {"bos_token_id", 1}, {"pad_token_id", 0}});
  EXPECT_EQ(c.family, Family::kLlama);
  EXPECT_EQ(c.architecture, "LlamaForCausalLM");
  EXPECT_EQ(c.vocab_size, 20);
  EXPECT_EQ(c.hidden_size, 16);
  EXPECT_EQ(c.intermediate_size, 24);
  EXPECT_EQ(c.num_layers, 2);
  EXPECT_EQ(c.num_heads, 4);
  EXPECT_EQ(c.num_kv_heads, 2);
  EXPECT_EQ(c.head_dim, 4);
  EXPECT_EQ(c.max_position_embeddings, 64);
  EXPECT_DOUBLE_EQ(c.rms_norm_eps, 1e-5);
  EXPECT_FALSE(c.tie_word_embeddings);
  EXPECT_EQ(c.hidden_act, "silu");
  EXPECT_EQ(c.dtype, DType::kF32);
  EXPECT_EQ(c.eos_token_ids, (std::vector<int64_t>{7, 9}));
  EXPECT_EQ(c.bos_token_id, 1);
  EXPECT_EQ(c.pad_token_id, 0);
  EXPECT_EQ(c.sliding_window, (std::vector<int64_t>{0, 0}));
  EXPECT_TRUE(c.warnings.empty()) << c.warnings[0];
}

TEST(Families, BothTransformersGenerationsGiveTheSame) {
  const json llama3 = {{"rope_type", "llama3"},
                       {"factor", 8.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 32}};
  json nested = llama3;
  nested["rope_theta"] = 5e5;
  const ModelConfig old_style = parse_patched("llama", {{"rope_theta", 5e5}, {"rope_scaling", llama3}});
  const ModelConfig new_style = parse_patched(
      "llama", {{"rope_theta", nullptr}, {"torch_dtype", nullptr}, {"dtype", "bfloat16"}, {"rope_parameters", nested}});
  EXPECT_EQ(old_style.rope.kind, RopeKind::kLlama3);
  EXPECT_EQ(old_style.rope.inv_freq, new_style.rope.inv_freq);
  EXPECT_EQ(new_style.rope.theta, 5e5);
  EXPECT_EQ(new_style.dtype, DType::kBF16);
}

TEST(Families, ModelTypeAloneIsEnough) {
  EXPECT_EQ(parse_patched("qwen2", {{"architectures", nullptr}}).family, Family::kQwen2);
  EXPECT_EQ(parse_patched("qwen2", {{"model_type", nullptr}}).family, Family::kQwen2);
}

TEST(Families, AbsentKeysTakeTheDefaultsOfTransformers) {
  // kv heads and head_dim: absent is not null
  EXPECT_EQ(parse_patched("llama", {{"num_key_value_heads", nullptr}}).num_kv_heads, 4);
  EXPECT_EQ(parse_patched("llama", {{"head_dim", nullptr}}).head_dim, 4);
  EXPECT_EQ(parse_patched("mistral", {{"num_key_value_heads", nullptr}, {"num_attention_heads", 16}}).num_kv_heads, 8);
  EXPECT_EQ(parse_patched("qwen3", {{"head_dim", nullptr}}).head_dim, 128);
  json null_kv = config_json("mistral");
  null_kv["num_key_value_heads"] = nullptr;
  EXPECT_EQ(parse(null_kv)->num_kv_heads, 4);
  // the window of mistral
  EXPECT_EQ(parse(null_kv)->sliding_window, (std::vector<int64_t>{0, 0}));
  EXPECT_EQ(parse_patched("mistral", {{"sliding_window", nullptr}}).sliding_window, (std::vector<int64_t>{4096, 4096}));
  // theta
  EXPECT_EQ(parse_patched("llama", {{"rope_theta", nullptr}}).rope.theta, 10000.0);
  // the length of Llama 1, with a warning
  const ModelConfig llama1 = parse_patched("llama", {{"max_position_embeddings", nullptr}});
  EXPECT_EQ(llama1.max_position_embeddings, 2048);
  EXPECT_EQ(llama1.warnings.size(), 1u);
}

TEST(Families, LlamaBiases) {
  const ModelConfig c = parse_patched("llama", {{"attention_bias", true}, {"mlp_bias", true}});
  EXPECT_TRUE(c.bias.q && c.bias.k && c.bias.v && c.bias.o && c.bias.mlp);
  const std::set<std::string> names = weight_names(c);
  for (const char* name : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                           "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}) {
    EXPECT_TRUE(names.contains("model.layers.1." + std::string(name) + ".bias")) << name;
  }
  EXPECT_EQ(names.size(), 3u + 2 * (9 + 7));
  const ModelConfig plain = parse_patched("llama", json::object());
  EXPECT_FALSE(plain.bias.q || plain.bias.k || plain.bias.v || plain.bias.o || plain.bias.mlp);
}

TEST(Families, TiedHead) {
  EXPECT_TRUE(weight_names(parse_patched("llama", json::object())).contains("lm_head.weight"));
  EXPECT_FALSE(weight_names(parse_patched("llama", {{"tie_word_embeddings", true}})).contains("lm_head.weight"));
}

TEST(Families, MistralWindowHoldsInEveryLayer) {
  EXPECT_EQ(parse_patched("mistral", {{"sliding_window", 8}}).sliding_window, (std::vector<int64_t>{8, 8}));
}

TEST(Families, Qwen2BiasesAndWindows) {
  const ModelConfig c = parse_patched("qwen2", {{"sliding_window", 8}});
  EXPECT_TRUE(c.bias.q && c.bias.k && c.bias.v);
  EXPECT_FALSE(c.bias.o || c.bias.mlp || c.qk_norm);
  EXPECT_EQ(c.sliding_window, (std::vector<int64_t>{0, 0}));  // not switched on
  EXPECT_EQ(parse_patched("qwen2", {{"use_sliding_window", true}, {"sliding_window", 8}, {"max_window_layers", 1}})
                .sliding_window,
            (std::vector<int64_t>{0, 8}));
  EXPECT_EQ(parse_patched("qwen2", {{"use_sliding_window", true}, {"sliding_window", 8}}).sliding_window,
            (std::vector<int64_t>{0, 0}));  // max_window_layers is 28
  EXPECT_EQ(parse_patched("qwen2", {{"use_sliding_window", true},
                                    {"sliding_window", 8},
                                    {"max_window_layers", 0},
                                    {"layer_types", {"sliding_attention", "full_attention"}}})
                .sliding_window,
            (std::vector<int64_t>{8, 0}));  // layer_types wins
}

TEST(Families, Qwen3NormsQAndK) {
  const ModelConfig c = parse_patched("qwen3", {{"head_dim", 8}});
  EXPECT_TRUE(c.qk_norm);
  EXPECT_FALSE(c.bias.q || c.bias.o);
  EXPECT_EQ(c.q_size(), 32);
  for (const WeightSpec& spec : family_info(c.family).weights(c)) {
    if (spec.name == "model.layers.0.self_attn.k_norm.weight") EXPECT_EQ(spec.shape, (std::vector<int64_t>{8}));
    if (spec.name == "model.layers.0.self_attn.q_proj.weight") EXPECT_EQ(spec.shape, (std::vector<int64_t>{32, 16}));
    if (spec.name == "model.layers.0.self_attn.o_proj.weight") EXPECT_EQ(spec.shape, (std::vector<int64_t>{16, 32}));
    if (spec.name == "model.layers.0.self_attn.v_proj.weight") EXPECT_EQ(spec.shape, (std::vector<int64_t>{16, 16}));
  }
  EXPECT_TRUE(parse_patched("qwen3", {{"attention_bias", true}}).bias.o);
}

TEST(Families, WarnOfWhatHasNoEffect) {
  const std::vector<std::pair<std::string, json>> cases = {
      {"llama", {{"mask_value", -10000}}},
      {"llama", {{"sliding_window", 4096}}},
      {"llama", {{"pad_token_id", -1}}},
      {"llama", {{"rope_scaling", {{"type", "linear"}, {"factor", 2}, {"finetuned", true}}}}},
      {"qwen2", {{"attention_bias", false}}},
  };
  for (const auto& [family, patch] : cases) {
    const ModelConfig c = parse_patched(family, patch);
    ASSERT_EQ(c.warnings.size(), 1u) << patch;
    EXPECT_NE(c.warnings[0].find("dir/config.json: "), std::string::npos);
  }
  EXPECT_EQ(parse_patched("llama", {{"pad_token_id", -1}}).pad_token_id, std::nullopt);
}

TEST(Families, PassOverWhatDoesNotMatter) {
  const ModelConfig c = parse_patched("llama", {{"attention_dropout", 0.1},
                                                {"use_cache", true},
                                                {"pretraining_tp", 2},
                                                {"initializer_range", 0.02},
                                                {"transformers_version", "4.40.0"},
                                                {"residual_multiplier", 1.0},
                                                {"num_experts", 0},
                                                {"quantization_config", nullptr},
                                                {"hidden_act", "swish"}});
  EXPECT_TRUE(c.warnings.empty()) << c.warnings[0];
}

TEST(Families, TableHasARowForEach) {
  EXPECT_EQ(families().size(), 4u);
  for (const FamilyInfo* info : families()) EXPECT_EQ(&family_info(info->family), info);
  EXPECT_EQ(family_names(), "llama, mistral, qwen2, qwen3");
}

}  // namespace
}  // namespace llmc::test
