// Where the time from the start of the process to the first token goes.
#pragma once

#include <nlohmann/json.hpp>

#include "runtime/commands/session.h"

namespace llmrt::commands {

// Seconds by phase ("weights_gb" and "weights_gb_s" are not seconds). The keys are part of --json.
nlohmann::ordered_json load_json(const Session& session);

// The first request of an engine, `prompt` tokens and two generated ones: adds first_prefill_s (graphs_s of it for
// building `graphs` programs), second_token_s, and process_to_first_token_s.
llm::Status measure_first_tokens(const Session& session, size_t prompt_tokens, nlohmann::ordered_json& load);

void print_load(const nlohmann::ordered_json& load);

}  // namespace llmrt::commands
