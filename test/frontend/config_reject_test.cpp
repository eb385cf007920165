// Every way in which a config.json is refused names the key, what was found and what was expected.
#include "test/frontend/test_model.h"

namespace llmc::test {
namespace {

using nlohmann::json;

struct RejectCase {
  std::string model_type;
  json patch;  // merged into a config that parses; a JSON merge patch: null removes a key
  std::vector<std::string> message;
};

llm::Result<ModelConfig> parse_patched(const RejectCase& test) {
  json config = config_json(test.model_type);
  config.merge_patch(test.patch);
  return parse(config);
}

void expect_refused(const std::vector<RejectCase>& cases) {
  for (const RejectCase& test : cases) {
    std::vector<std::string> parts = test.message;
    parts.push_back("dir/config.json: ");
    EXPECT_TRUE(fails_with(parse_patched(test), parts)) << test.model_type << " " << test.patch;
  }
}

TEST(ConfigReject, NotJson) {
  EXPECT_TRUE(fails_with(parse_model_config("", "dir/config.json"), {"dir/config.json", "not valid JSON"}));
  EXPECT_TRUE(fails_with(parse_model_config("{\"a\":}", "dir/config.json"), {"not valid JSON"}));
  EXPECT_TRUE(fails_with(parse_model_config("[1]", "dir/config.json"), {"found [1]", "JSON object"}));
  EXPECT_TRUE(fails_with(parse_model_config(std::string(100'000, '['), "dir/config.json"), {"not valid JSON"}));
}

TEST(ConfigReject, MissingFile) {
  TempFolder folder;
  EXPECT_TRUE(fails_with(load_model_config(folder.path()), {folder.path() + "/config.json", "cannot open"}));
}

TEST(ConfigReject, Family) {
  expect_refused({
      {"llama",
       {{"architectures", {"GraniteForCausalLM"}}},
       {"'architectures'", "GraniteForCausalLM", "llama, mistral"}},
      {"llama", {{"architectures", {"LlamaForSequenceClassification"}}}, {"LlamaForSequenceClassification"}},
      {"llama", {{"architectures", "LlamaForCausalLM"}}, {"'architectures'", "array of strings"}},
      {"llama", {{"architectures", nullptr}, {"model_type", "gemma"}}, {"'model_type'", "gemma", "qwen3"}},
      {"llama", {{"architectures", nullptr}, {"model_type", nullptr}}, {"'architectures'", "missing"}},
      {"llama", {{"model_type", "mistral"}}, {"'model_type'", "mistral", "LlamaForCausalLM"}},
      {"llama", {{"model_type", 3}}, {"'model_type'", "found 3", "a string"}},
  });
}

TEST(ConfigReject, RequiredKeys) {
  for (const char* key :
       {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "rms_norm_eps"}) {
    for (const char* family : {"llama", "mistral", "qwen2", "qwen3"}) {
      expect_refused({{family, {{key, nullptr}}, {"required key '" + std::string(key) + "' is missing"}}});
    }
  }
  expect_refused({{"qwen2", {{"max_position_embeddings", nullptr}}, {"'max_position_embeddings' is missing"}}});
}

TEST(ConfigReject, DimensionValues) {
  for (const char* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                          "num_key_value_heads", "head_dim", "max_position_embeddings"}) {
    const std::string name = "'" + std::string(key) + "'";
    expect_refused({
        {"llama", {{key, 0}}, {name, "found 0", "expected an integer from"}},
        {"llama", {{key, -4}}, {name, "found -4"}},
        {"llama", {{key, 2147483648}}, {name, "found 2147483648"}},
        {"llama", {{key, 18446744073709551615u}}, {name, "found 18446744073709551615"}},
        {"llama", {{key, 4.0}}, {name, "found 4.0", "expected an integer"}},
        {"llama", {{key, "16"}}, {name, "found \"16\""}},
        {"llama", {{key, true}}, {name, "found true"}},
        {"llama", {{key, json::array({16})}}, {name, "found [16]"}},
    });
  }
}

TEST(ConfigReject, DimensionsThatDoNotFit) {
  expect_refused({
      {"llama", {{"num_key_value_heads", 3}}, {"'num_key_value_heads'", "found 3", "num_attention_heads = 4"}},
      {"llama", {{"num_key_value_heads", 8}}, {"'num_key_value_heads'", "found 8"}},
      {"llama", {{"head_dim", nullptr}, {"hidden_size", 18}}, {"'hidden_size'", "found 18", "num_attention_heads = 4"}},
      {"llama", {{"head_dim", 5}}, {"'head_dim'", "found 5", "even"}},
      {"llama", {{"head_dim", nullptr}, {"hidden_size", 12}}, {"head_dim", "found 3", "even"}},
      {"llama", {{"head_dim", 65538}}, {"'head_dim'", "found 65538"}},
      {"llama",
       {{"num_attention_heads", 2147483646}, {"head_dim", 4}},
       {"num_attention_heads * head_dim", "2147483646"}},
      {"llama", {{"num_hidden_layers", 1000000}}, {"'num_hidden_layers'", "1000000"}},
      {"llama", {{"rms_norm_eps", 0}}, {"'rms_norm_eps'", "found 0"}},
      {"llama", {{"rms_norm_eps", -1e-6}}, {"'rms_norm_eps'", "found -1e-06"}},
      {"llama", {{"rms_norm_eps", "1e-6"}}, {"'rms_norm_eps'", "found \"1e-6\""}},
      {"llama", {{"rms_norm_eps", 2}}, {"'rms_norm_eps'", "found 2"}},
  });
}

TEST(ConfigReject, Switches) {
  expect_refused({
      {"llama", {{"hidden_act", "gelu"}}, {"'hidden_act'", "\"gelu\"", "'silu'"}},
      {"llama", {{"hidden_act", 1}}, {"'hidden_act'", "found 1"}},
      {"llama", {{"attention_bias", "yes"}}, {"'attention_bias'", "\"yes\"", "true or false"}},
      {"llama", {{"mlp_bias", 1}}, {"'mlp_bias'", "found 1"}},
      {"llama", {{"tie_word_embeddings", 0}}, {"'tie_word_embeddings'", "found 0"}},
      {"mistral", {{"attention_bias", true}}, {"'attention_bias'", "found true", "mistral"}},
      {"mistral", {{"mlp_bias", true}}, {"'mlp_bias'", "found true", "mistral"}},
      {"qwen2", {{"mlp_bias", true}}, {"'mlp_bias'", "qwen2"}},
      {"qwen3", {{"mlp_bias", true}}, {"'mlp_bias'", "qwen3"}},
      {"llama",
       {{"quantization_config", {{"quant_method", "hqq"}, {"bits", 4}}}},
       {"'quantization_config.quant_method'", "\"hqq\"", "'gptq'"}},
      {"llama", {{"quantization_config", {{"bits", 4}}}}, {"'quantization_config.quant_method'", "null"}},
      {"llama", {{"torch_dtype", "float64"}}, {"'torch_dtype'", "\"float64\"", "bfloat16"}},
      {"llama", {{"torch_dtype", nullptr}, {"dtype", "int8"}}, {"'dtype'", "\"int8\""}},
      {"llama", {{"dtype", "float16"}}, {"'dtype'", "\"float16\"", "'float32'"}},
      {"llama", {{"eos_token_id", "</s>"}}, {"'eos_token_id'", "\"</s>\""}},
      {"llama", {{"eos_token_id", {1, 2.5}}}, {"'eos_token_id'", "[1,2.5]"}},
      {"llama", {{"bos_token_id", {1, 2}}}, {"'bos_token_id'", "[1,2]", "one integer"}},
  });
}

TEST(ConfigReject, Windows) {
  expect_refused({
      {"llama", {{"layer_types", {"full_attention", "sliding_attention"}}}, {"'layer_types[1]'", "sliding_attention"}},
      {"mistral", {{"sliding_window", 0}}, {"'sliding_window'", "found 0"}},
      {"mistral", {{"sliding_window", -1}}, {"'sliding_window'", "found -1"}},
      {"mistral",
       {{"sliding_window", 8}, {"layer_types", {"sliding_attention", "full_attention"}}},
       {"'layer_types[1]'", "full_attention", "sliding_window"}},
      {"qwen2", {{"use_sliding_window", 1}}, {"'use_sliding_window'", "found 1"}},
      {"qwen2", {{"use_sliding_window", true}, {"sliding_window", 0}}, {"'sliding_window'", "found 0"}},
      {"qwen2",
       {{"use_sliding_window", true}, {"sliding_window", 8}, {"max_window_layers", -1}},
       {"'max_window_layers'", "found -1"}},
      {"qwen2", {{"layer_types", {"full_attention"}}}, {"'layer_types'", "found 1 entries", "num_hidden_layers = 2"}},
      {"qwen2",
       {{"layer_types", {"full_attention", "chunked_attention"}}},
       {"'layer_types[1]'", "'chunked_attention'"}},
      {"qwen2", {{"layer_types", {"full_attention", 2}}}, {"'layer_types'", "array of strings"}},
      {"qwen3",
       {{"layer_types", {"full_attention", "sliding_attention"}}},
       {"'layer_types[1]'", "'use_sliding_window' is not true"}},
  });
  json config = config_json("qwen2");  // sliding_window is null
  config["use_sliding_window"] = true;
  config["layer_types"] = {"full_attention", "sliding_attention"};
  EXPECT_TRUE(fails_with(parse(config), {"'sliding_window'", "found null"}));
}

TEST(ConfigReject, Rope) {
  expect_refused({
      {"llama", {{"rope_theta", 0}}, {"'rope_theta'", "found 0"}},
      {"llama", {{"rope_theta", "1e4"}}, {"'rope_theta'", "\"1e4\""}},
      {"llama", {{"partial_rotary_factor", 0.5}}, {"'partial_rotary_factor'", "found 0.5"}},
      {"llama", {{"rope_scaling", "linear"}}, {"'rope_scaling'", "\"linear\"", "JSON object"}},
      {"llama", {{"rope_scaling", {{"rope_type", "mrope"}}}}, {"'rope_scaling.rope_type'", "\"mrope\"", "llama3"}},
      {"llama", {{"rope_scaling", {{"type", "ntk"}}}}, {"'rope_scaling.type'", "\"ntk\""}},
      {"llama", {{"rope_scaling", {{"rope_type", "yarn"}, {"type", "linear"}}}}, {"'rope_scaling.type'", "'yarn'"}},
      {"llama", {{"rope_scaling", {{"factor", 2.0}}}}, {"'rope_scaling.rope_type'", "'rope_scaling.factor'"}},
      {"llama", {{"rope_scaling", {{"type", "linear"}}}}, {"'rope_scaling.factor' is missing"}},
      {"llama", {{"rope_scaling", {{"type", "linear"}, {"factor", 0}}}}, {"'rope_scaling.factor'", "found 0"}},
      {"llama", {{"rope_scaling", {{"type", "dynamic"}}}}, {"'rope_scaling.factor' is missing"}},
      {"llama", {{"rope_scaling", {{"type", "yarn"}}}}, {"'rope_scaling.factor' is missing"}},
      {"llama", {{"rope_scaling", {{"type", "yarn"}, {"factor", 2}, {"truncate", 1}}}}, {"'rope_scaling.truncate'"}},
      {"llama",
       {{"rope_scaling", {{"type", "llama3"}, {"factor", 8}, {"high_freq_factor", 4}}}},
       {"'rope_scaling.low_freq_factor' is missing"}},
      {"llama",
       {{"rope_scaling", {{"type", "llama3"}, {"factor", 8}, {"high_freq_factor", 1}, {"low_freq_factor", 1}}}},
       {"'rope_scaling.high_freq_factor'", "found 1", "more than"}},
      {"llama",
       {{"rope_scaling", {{"type", "longrope"}, {"short_factor", {1, 1}}}}},
       {"'rope_scaling.long_factor' is missing"}},
      {"llama",
       {{"rope_scaling", {{"type", "longrope"}, {"short_factor", {1, 1}}, {"long_factor", {1}}}}},
       {"'long_factor'", "found 1 factors", "2"}},
      {"llama",
       {{"rope_scaling", {{"type", "longrope"}, {"short_factor", {1, 1}}, {"long_factor", {1, -1}}}}},
       {"'rope_scaling.long_factor'", "found element -1"}},
      {"llama",
       {{"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 5e5}}}},
       {"'rope_parameters.rope_theta'", "500000"}},
      {"llama",
       {{"rope_parameters", {{"rope_type", "default"}, {"partial_rotary_factor", 0.25}}}},
       {"'rope_parameters.partial_rotary_factor'", "0.25"}},
      {"llama",
       {{"rope_parameters", {{"full_attention", {{"rope_type", "default"}}}}}},
       {"'rope_parameters.full_attention'"}},
      {"qwen2",
       {{"rope_scaling", {{"type", "default"}, {"mrope_section", {16, 24, 24}}}}},
       {"'rope_scaling.mrope_section'"}},
      {"llama",
       {{"rope_scaling", {{"type", "linear"}, {"factor", 2}}}, {"rope_parameters", {{"rope_type", "default"}}}},
       {"'rope_scaling'", "'rope_parameters'"}},
  });
}

TEST(ConfigReject, KeysOfOtherGraphs) {
  expect_refused({
      {"llama", {{"residual_multiplier", 0.22}}, {"'residual_multiplier'", "found 0.22"}},
      {"llama", {{"attn_logit_softcapping", 50.0}}, {"'attn_logit_softcapping'", "found 50.0"}},
      {"qwen2", {{"num_experts", 60}}, {"'num_experts'", "found 60"}},
      {"llama", {{"text_config", {{"hidden_size", 16}}}}, {"'text_config'"}},
      {"llama", {{"is_encoder_decoder", true}}, {"'is_encoder_decoder'", "found true"}},
      {"llama", {{"pruned_heads", {{"0", {1}}}}}, {"'pruned_heads'"}},
  });
}

TEST(ConfigReject, ValuesCannotBreakTheMessage) {
  expect_refused({{"llama", {{"hidden_act", "a\nb" + std::string(500, 'x')}}, {"'hidden_act'", "a\\nb", "..."}}});
}

TEST(ConfigReject, DynamicRopeBeyondItsLength) {
  json config = config_json("llama");
  config["rope_scaling"] = {{"type", "dynamic"}, {"factor", 2.0}};
  EXPECT_TRUE(parse(config, {.max_context = 64}).ok());
  EXPECT_TRUE(
      fails_with(parse(config, {.max_context = 65}), {"config.json", "'dynamic'", "65", "64", "--max-context"}));
}

}  // namespace
}  // namespace llmc::test
