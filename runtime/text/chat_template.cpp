#include "runtime/text/chat_template.h"

#include <algorithm>
#include <array>
#include <utility>

#include "runtime/text/owned_text.h"
#include "runtime/text/text.h"

namespace llmrt::text {
namespace {

constexpr const char* kConfigFile = "tokenizer_config.json";

// Text of a special token: a string, or an AddedToken object {"content": ...}. Null if it is neither.
Json token_text(const Json& token) {
  if (token.is_string()) return token;
  if (token.is_object() && token.contains("content") && token["content"].is_string()) return token["content"];
  return nullptr;
}

// Everything named *_token (bos_token, eos_token, image_token, ...). Tokens that are null stay undefined for the
// template, as in transformers.
Json special_tokens_of(const Json& config) {
  Json tokens = Json::object();
  for (const auto& [key, value] : config.items()) {
    if (!key.ends_with("_token")) continue;
    if (Json text = token_text(value); text.is_string()) tokens[key] = std::move(text);
  }
  return tokens;
}

// transformers 5 accepts a message's reasoning under three names, and shows it to templates under the first; gpt-oss
// templates read "thinking" (`_alias_reasoning_fields` in its chat_template_utils.py).
Json with_reasoning_aliases(const Json& message) {
  constexpr std::array<const char*, 3> kReasoningFields = {"reasoning_content", "thinking", "reasoning"};
  for (const char* field : kReasoningFields) {
    const auto found = message.find(field);
    if (found == message.end() || found->is_null()) continue;
    Json aliased = Json::object();
    aliased["thinking"] = *found;
    for (const auto& [key, value] : message.items()) aliased[key] = value;
    aliased["reasoning_content"] = *found;
    return aliased;
  }
  return message;
}

// Copying and dumping recurse; a request must not be able to exhaust the stack.
constexpr int kMaxDepth = 100;

bool is_deeper_than(const Json& json, int levels) {
  if (!json.is_structured()) return false;
  if (levels == 0) return true;
  return std::any_of(json.begin(), json.end(), [&](const Json& item) { return is_deeper_than(item, levels - 1); });
}

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

llm::Error wrong_type(const std::string& what, const Json& found, const std::string& expected) {
  return llm::Error{what + ": found " + found.type_name() + ", expected " + expected};
}

}  // namespace

void ChatTemplate::Deleter::operator()(llmrt_text_template* handle) const { llmrt_text_template_free(handle); }

llm::Result<ChatTemplate> ChatTemplate::from_model_files(std::string_view tokenizer_config_json,
                                                         std::optional<std::string_view> jinja) {
  const Json config = Json::parse(tokenizer_config_json, nullptr, /*allow_exceptions=*/false);
  if (config.is_discarded()) return llm::Error{std::string(kConfigFile) + ": invalid JSON"};
  if (!config.is_object()) return wrong_type(kConfigFile, config, "an object");

  ChatTemplate result;
  result.special_tokens_ = special_tokens_of(config);
  if (jinja) {
    LLM_TRY(result.add_template("default", *jinja));
  } else if (config.contains("chat_template") && !config["chat_template"].is_null()) {
    LLM_TRY(result.add_templates(config["chat_template"]));
  }
  if (result.templates_.empty()) {
    return llm::Error{std::string("no chat template: ") + kConfigFile +
                      " has no chat_template and there is no chat_template.jinja; add one, or send plain text"};
  }
  return result;
}

llm::Status ChatTemplate::add_templates(const Json& chat_template) {
  const std::string where = std::string(kConfigFile) + ": chat_template";
  if (chat_template.is_string()) return add_template("default", chat_template.get_ref<const std::string&>());
  if (!chat_template.is_array()) return wrong_type(where, chat_template, "a string or a list of {name, template}");
  for (const Json& entry : chat_template) {
    if (!entry.is_object() || !entry.contains("name") || !entry["name"].is_string() || !entry.contains("template") ||
        !entry["template"].is_string()) {
      return llm::Error{where + ": each entry of the list must be an object with the strings name and template"};
    }
    LLM_TRY(add_template(entry["name"].get<std::string>(), entry["template"].get_ref<const std::string&>()));
  }
  return {};
}

llm::Status ChatTemplate::add_template(std::string name, std::string_view source) {
  OwnedText error;
  llmrt_text_template* handle = nullptr;
  if (llmrt_text_template_new(source.data(), source.size(), &handle, error.out()) != 0) {
    return llm::Error{error.str() + (name == "default" ? "" : " (template \"" + name + "\")")};
  }
  templates_.push_back({std::move(name), std::unique_ptr<llmrt_text_template, Deleter>(handle)});
  return {};
}

llm::Result<const llmrt_text_template*> ChatTemplate::select(bool has_tools) const {
  const llmrt_text_template* fallback = nullptr;
  std::string names;
  for (const NamedTemplate& candidate : templates_) {
    if (has_tools && candidate.name == "tool_use") return candidate.handle.get();
    if (candidate.name == "default") fallback = candidate.handle.get();
    names += (names.empty() ? "" : ", ") + candidate.name;
  }
  if (fallback == nullptr) return llm::Error{"chat template: none is named default, found " + names};
  return fallback;
}

llm::Result<std::string> ChatTemplate::render(const ChatInput& input) const {
  if (!input.messages.is_array()) return wrong_type("messages", input.messages, "a list");
  if (!input.tools.is_null() && !input.tools.is_array()) return wrong_type("tools", input.tools, "a list or null");
  if (!input.documents.is_null() && !input.documents.is_array()) {
    return wrong_type("documents", input.documents, "a list or null");
  }
  if (!input.variables.is_object()) return wrong_type("template variables", input.variables, "an object");

  for (const Json* part : {&input.messages, &input.tools, &input.documents, &input.variables}) {
    if (is_deeper_than(*part, kMaxDepth)) {
      return llm::Error{"chat template input: more than " + std::to_string(kMaxDepth) + " levels of lists and objects"};
    }
  }

  Json messages = Json::array();
  for (const Json& message : input.messages) {
    if (!message.is_object()) return wrong_type("messages: an entry", message, "an object");
    messages.push_back(with_reasoning_aliases(message));
  }
  Json context = special_tokens_;
  context["tools"] = input.tools;
  context["documents"] = input.documents;
  context["add_generation_prompt"] = input.generation_prompt == GenerationPrompt::kAdd;
  for (const auto& [key, value] : input.variables.items()) context[key] = value;

  LLM_ASSIGN(const llmrt_text_template* chosen, select(!input.tools.is_null()));
  const std::string messages_json = dump(messages);
  const std::string context_json = dump(context);
  OwnedText error;
  OwnedText text;
  if (llmrt_text_template_render(chosen, messages_json.data(), messages_json.size(), context_json.data(),
                                 context_json.size(), text.out(), error.out()) != 0) {
    return llm::Error{error.str()};
  }
  return text.str();
}

}  // namespace llmrt::text
