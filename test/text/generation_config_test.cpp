#include "runtime/text/generation_config.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace llmrt::text {
namespace {

using Ids = std::vector<TokenId>;

TEST(GenerationConfig, DefaultsLeaveEverythingOff) {
  const auto config = parse_generation_config(std::nullopt, "{}");
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_FALSE(config->do_sample);
  EXPECT_EQ(config->temperature, 1.0);
  EXPECT_EQ(config->top_k, 0);
  EXPECT_EQ(config->top_p, 1.0);
  EXPECT_EQ(config->min_p, 0.0);
  EXPECT_EQ(config->repetition_penalty, 1.0);
  EXPECT_FALSE(config->max_new_tokens.has_value());
  EXPECT_EQ(config->eos_token_ids, Ids());
}

TEST(GenerationConfig, ReadsAllKeys) {
  const auto config = parse_generation_config(
      R"({"do_sample": true, "temperature": 0.7, "top_k": 20, "top_p": 0.8, "min_p": 0.05, "repetition_penalty": 1.05,
          "max_new_tokens": 2048, "eos_token_id": [151645, 151643, 151645], "transformers_version": "4.37.0"})",
      R"({"eos_token_id": 7})");
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_TRUE(config->do_sample);
  EXPECT_EQ(config->temperature, 0.7);
  EXPECT_EQ(config->top_k, 20);
  EXPECT_EQ(config->top_p, 0.8);
  EXPECT_EQ(config->min_p, 0.05);
  EXPECT_EQ(config->repetition_penalty, 1.05);
  EXPECT_EQ(config->max_new_tokens, 2048);
  EXPECT_EQ(config->eos_token_ids, (Ids{151645, 151643}));
}

TEST(GenerationConfig, TakesEosFromTheModelConfig) {
  const auto eos = [](const char* generation, const char* config) {
    return parse_generation_config(generation, config)->eos_token_ids;
  };
  EXPECT_EQ(eos("{}", R"({"eos_token_id": 2})"), (Ids{2}));
  EXPECT_EQ(eos(R"({"eos_token_id": null})", R"({"eos_token_id": [2, 3]})"), (Ids{2, 3}));
  EXPECT_EQ(eos("{}", R"({"text_config": {"eos_token_id": 4}})"), (Ids{4}));
  EXPECT_EQ(eos(R"({"eos_token_id": 1})", R"({"eos_token_id": 2})"), (Ids{1}));
}

TEST(GenerationConfig, AcceptsOffSpellings) {
  const auto config = parse_generation_config(
      R"({"top_k": -1, "temperature": 0, "min_p": null, "eos_token_id": -1, "max_new_tokens": null})", "{}");
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->top_k, 0);
  EXPECT_EQ(config->temperature, 0.0);
  EXPECT_EQ(config->eos_token_ids, Ids());
}

TEST(GenerationConfig, ReportsBadValues) {
  for (const char* json :
       {"{", "[]", R"({"do_sample": 1})", R"({"temperature": -0.1})", R"({"temperature": "hot"})", R"({"top_k": 1.5})",
        R"({"top_k": -2})", R"({"top_k": 18446744073709551615})", R"({"top_p": 0})", R"({"top_p": 1.1})",
        R"({"min_p": -1})", R"({"repetition_penalty": 0})", R"({"max_new_tokens": 0})", R"({"eos_token_id": "2"})",
        R"({"eos_token_id": [2, null]})", R"({"eos_token_id": 4294967296})"}) {
    EXPECT_FALSE(parse_generation_config(json, "{}").ok()) << json;
  }
  EXPECT_EQ(parse_generation_config(R"({"top_p": 2})", "{}").error().message,
            "generation_config.json: top_p: found 2, expected a number in (0, 1]");
  EXPECT_FALSE(parse_generation_config("{}", "").ok());
}

}  // namespace
}  // namespace llmrt::text
