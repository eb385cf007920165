// Whatever a config.json says, parsing it gives a config that keeps its promises or an error of one line.
#include <algorithm>
#include <cmath>
#include <random>

#include "test/frontend/test_model.h"

namespace llmc::test {
namespace {

using nlohmann::json;

void check_promises(const llm::Result<ModelConfig>& parsed) {
  if (!parsed.ok()) {
    EXPECT_EQ(parsed.error().message.find('\n'), std::string::npos) << parsed.error().message;
    return;
  }
  const ModelConfig& c = *parsed;
  EXPECT_GT(c.num_kv_heads, 0);
  EXPECT_EQ(c.num_heads % c.num_kv_heads, 0);
  EXPECT_EQ(c.head_dim % 2, 0);
  EXPECT_EQ(c.sliding_window.size(), static_cast<size_t>(c.num_layers));
  EXPECT_TRUE(std::all_of(c.sliding_window.begin(), c.sliding_window.end(), [](int64_t w) { return w >= 0; }));
  EXPECT_EQ(c.rope.inv_freq.size(), static_cast<size_t>(c.head_dim / 2));
  EXPECT_TRUE(std::all_of(c.rope.inv_freq.begin(), c.rope.inv_freq.end(), [](float f) { return std::isfinite(f); }));
}

const std::vector<json>& odd_values() {
  static const std::vector<json> values = {nullptr,
                                           true,
                                           false,
                                           0,
                                           1,
                                           2,
                                           3,
                                           -1,
                                           7,
                                           64,
                                           65536,
                                           2147483647,
                                           2147483648,
                                           INT64_MIN,
                                           UINT64_MAX,
                                           0.0,
                                           0.5,
                                           1e-6,
                                           1e30,
                                           1e308,
                                           -2.5,
                                           "",
                                           "silu",
                                           "yarn",
                                           "sliding_attention",
                                           json::array(),
                                           {1, 2},
                                           {"full_attention", "sliding_attention"},
                                           json::object(),
                                           {{"rope_type", "llama3"}},
                                           {{"type", "linear"}, {"factor", 1e-30}}};
  return values;
}

TEST(ConfigMutation, AnyKeyWithAnyValue) {
  const std::vector<std::string> extra_keys = {
      "layer_types",  "use_sliding_window",  "max_window_layers",     "attention_bias",
      "mlp_bias",     "rope_scaling",        "rope_parameters",       "dtype",
      "eos_token_id", "quantization_config", "partial_rotary_factor", "pruned_heads"};
  std::mt19937_64 random(4);
  for (const char* family : {"llama", "mistral", "qwen2", "qwen3"}) {
    for (int round = 0; round < 800; ++round) {
      json config = config_json(family);
      std::vector<std::string> keys = extra_keys;
      for (const auto& item : config.items()) keys.push_back(item.key());
      for (uint64_t i = 0, count = 1 + random() % 3; i < count; ++i) {
        config[keys[random() % keys.size()]] = odd_values()[random() % odd_values().size()];
      }
      check_promises(parse(config));
    }
  }
}

TEST(ConfigMutation, AnyRopeParameters) {
  const std::vector<std::string> keys = {"factor",         "low_freq_factor",  "high_freq_factor",
                                         "beta_fast",      "beta_slow",        "mscale",
                                         "mscale_all_dim", "attention_factor", "original_max_position_embeddings",
                                         "truncate",       "rope_theta",       "short_factor",
                                         "long_factor"};
  std::mt19937_64 random(5);
  for (const char* kind : {"default", "linear", "dynamic", "llama3", "yarn", "longrope"}) {
    for (int round = 0; round < 400; ++round) {
      json config = config_json("llama");
      json& rope =
          config["rope_scaling"] = {{"rope_type", kind},     {"factor", 2.0},          {"low_freq_factor", 1},
                                    {"high_freq_factor", 4}, {"short_factor", {1, 1}}, {"long_factor", {2, 3}}};
      for (uint64_t i = 0, count = 1 + random() % 3; i < count; ++i) {
        rope[keys[random() % keys.size()]] = odd_values()[random() % odd_values().size()];
      }
      check_promises(parse(config));
    }
  }
}

TEST(ConfigMutation, AnyByteReplaced) {
  const std::string seed = config_json("qwen2").dump();
  std::mt19937_64 random(6);
  for (int round = 0; round < 3000; ++round) {
    std::string text = seed;
    for (uint64_t i = 0, count = 1 + random() % 4; i < count; ++i)
      text[random() % text.size()] = static_cast<char>(random());
    check_promises(parse_model_config(text, "f"));
  }
}

}  // namespace
}  // namespace llmc::test
