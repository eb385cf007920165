// Sampling defaults and stop ids of a model folder: generation_config.json and config.json.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "plan/result.h"
#include "runtime/text/tokenizer.h"

namespace llmrt::text {

// A key that is absent or null leaves its setting off. (transformers would cut to 50 candidates when top_k is absent;
// servers do not, and a file that wants it says so.)
struct GenerationConfig {
  bool do_sample = false;           // false: greedy
  double temperature = 1.0;         // >= 0; 0: greedy
  int64_t top_k = 0;                // 0: all candidates
  double top_p = 1.0;               // (0, 1]
  double min_p = 0.0;               // [0, 1], relative to the most likely token
  double repetition_penalty = 1.0;  // > 0
  std::optional<int64_t> max_new_tokens;
  std::vector<TokenId> eos_token_ids;  // any of them ends the text; without duplicates
};

// `generation_config_json`: contents of generation_config.json, if the folder has one. `config_json`: contents of
// config.json; its eos_token_id (also inside of text_config) counts when the other file names none.
// Errors: JSON of the wrong type, values out of the ranges above.
llm::Result<GenerationConfig> parse_generation_config(std::optional<std::string_view> generation_config_json,
                                                      std::string_view config_json);

}  // namespace llmrt::text
