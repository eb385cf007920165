#include "runtime/text/generation_config.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

namespace llmrt::text {
namespace {

using nlohmann::json;

constexpr const char* kGenerationFile = "generation_config.json";
constexpr const char* kConfigFile = "config.json";

llm::Result<json> parse_object(std::string_view text, const std::string& file) {
  json parsed = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (parsed.is_discarded()) return llm::Error{file + ": invalid JSON"};
  if (!parsed.is_object()) return llm::Error{file + ": found " + parsed.type_name() + ", expected an object"};
  return parsed;
}

// The value of `key`, or null.
const json& value_of(const json& object, const char* key) {
  static const json kNull;
  const auto found = object.find(key);
  return found == object.end() ? kNull : *found;
}

llm::Error out_of_range(const std::string& file, const std::string& key, const json& found,
                        const std::string& expected) {
  // dump() recurses, and lists may be nested deeper than the stack is.
  const std::string text =
      found.is_structured() ? found.type_name() : found.dump(-1, ' ', false, json::error_handler_t::replace);
  return llm::Error{file + ": " + key + ": found " + text + ", expected " + expected};
}

llm::Status read_bool(const json& object, const char* key, bool& target) {
  const json& value = value_of(object, key);
  if (value.is_null()) return {};
  if (!value.is_boolean()) return out_of_range(kGenerationFile, key, value, "true or false");
  target = value.get<bool>();
  return {};
}

template <typename InRange>
llm::Status read_number(const json& object, const char* key, const std::string& expected, InRange in_range,
                        double& target) {
  const json& value = value_of(object, key);
  if (value.is_null()) return {};
  if (!value.is_number() || !in_range(value.get<double>())) {
    return out_of_range(kGenerationFile, key, value, expected);
  }
  target = value.get<double>();
  return {};
}

bool is_integer_in(const json& value, int64_t low, int64_t high) {
  if (!value.is_number_integer()) return false;
  if (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) return false;
  return value.get<int64_t>() >= low && value.get<int64_t>() <= high;
}

llm::Status read_top_k(const json& object, int64_t& target) {
  const json& value = value_of(object, "top_k");
  if (value.is_null()) return {};
  // Some files spell "off" as -1.
  if (!is_integer_in(value, -1, std::numeric_limits<int32_t>::max())) {
    return out_of_range(kGenerationFile, "top_k", value, "an integer >= -1");
  }
  target = std::max<int64_t>(0, value.get<int64_t>());
  return {};
}

llm::Status read_max_new_tokens(const json& object, std::optional<int64_t>& target) {
  const json& value = value_of(object, "max_new_tokens");
  if (value.is_null()) return {};
  if (!is_integer_in(value, 1, std::numeric_limits<int64_t>::max())) {
    return out_of_range(kGenerationFile, "max_new_tokens", value, "an integer >= 1");
  }
  target = value.get<int64_t>();
  return {};
}

// An id, a list of ids, or null. Ids of -1 mean "none".
llm::Result<std::vector<TokenId>> read_eos(const json& object, const std::string& file) {
  const json& value = value_of(object, "eos_token_id");
  std::vector<TokenId> ids;
  if (value.is_null()) return ids;
  const size_t count = value.is_array() ? value.size() : 1;
  for (size_t i = 0; i < count; ++i) {
    const json& id = value.is_array() ? value[i] : value;
    if (!is_integer_in(id, -1, std::numeric_limits<TokenId>::max())) {
      return out_of_range(file, "eos_token_id", id, "a token id or a list of token ids");
    }
    const auto token = id.get<TokenId>();
    if (token >= 0 && std::find(ids.begin(), ids.end(), token) == ids.end()) ids.push_back(token);
  }
  return ids;
}

}  // namespace

llm::Result<GenerationConfig> parse_generation_config(std::optional<std::string_view> generation_config_json,
                                                      std::string_view config_json) {
  GenerationConfig result;
  if (generation_config_json) {
    LLM_ASSIGN(const json file, parse_object(*generation_config_json, kGenerationFile));
    LLM_TRY(read_bool(file, "do_sample", result.do_sample));
    LLM_TRY(read_number(file, "temperature", "a number >= 0", [](double v) { return v >= 0; }, result.temperature));
    LLM_TRY(read_number(file, "top_p", "a number in (0, 1]", [](double v) { return v > 0 && v <= 1; }, result.top_p));
    LLM_TRY(read_number(file, "min_p", "a number in [0, 1]", [](double v) { return v >= 0 && v <= 1; }, result.min_p));
    LLM_TRY(read_number(
        file, "repetition_penalty", "a number > 0", [](double v) { return v > 0; }, result.repetition_penalty));
    LLM_TRY(read_top_k(file, result.top_k));
    LLM_TRY(read_max_new_tokens(file, result.max_new_tokens));
    LLM_ASSIGN(result.eos_token_ids, read_eos(file, kGenerationFile));
  }
  LLM_ASSIGN(const json config, parse_object(config_json, kConfigFile));
  if (result.eos_token_ids.empty()) {
    LLM_ASSIGN(result.eos_token_ids, read_eos(config, kConfigFile));
  }
  if (const json& text_config = value_of(config, "text_config");
      result.eos_token_ids.empty() && text_config.is_object()) {
    LLM_ASSIGN(result.eos_token_ids, read_eos(text_config, std::string(kConfigFile) + ": text_config"));
  }
  return result;
}

}  // namespace llmrt::text
