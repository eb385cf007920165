// Chat templates of a model folder, rendered as transformers' apply_chat_template(tokenize=False) renders them.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "plan/result.h"

struct llmrt_text_template;

namespace llmrt::text {

// Keeps the order of keys: templates print tools and arguments as JSON.
using Json = nlohmann::ordered_json;

enum class GenerationPrompt { kNone, kAdd };

struct ChatInput {
  Json messages = Json::array();  // [{"role": ..., "content": ..., ...}, ...]
  Json tools;                     // list of tool schemas, or null
  Json documents;                 // list of {"title", "text"}, or null
  GenerationPrompt generation_prompt = GenerationPrompt::kAdd;
  // Further names for the template, such as enable_thinking; they win over special tokens of the same name. The string
  // strftime_now ("YYYY-MM-DDTHH:MM:SS") is the time that strftime_now() shows instead of the local time.
  Json variables = Json::object();
};

// Immutable; any number of threads may use one at the same time.
class ChatTemplate {
 public:
  // `tokenizer_config_json`: contents of tokenizer_config.json; its chat_template is a string or a list of
  // {"name", "template"}, its special tokens are strings or AddedToken objects. `jinja`: contents of
  // chat_template.jinja if the folder has one; it is used instead of those in the config.
  // Errors: no template at all, JSON of the wrong type, a template that does not compile.
  static llm::Result<ChatTemplate> from_model_files(std::string_view tokenizer_config_json,
                                                    std::optional<std::string_view> jinja = std::nullopt);

  // The text of the chat, special tokens included: encode it with EncodeMode::kAsWritten. Among named templates
  // "tool_use" is taken when there are tools, else "default". Errors: what the template raises; bad types in `input`.
  llm::Result<std::string> render(const ChatInput& input) const;

 private:
  struct Deleter {
    void operator()(llmrt_text_template* handle) const;
  };
  struct NamedTemplate {
    std::string name;
    std::unique_ptr<llmrt_text_template, Deleter> handle;
  };

  ChatTemplate() = default;
  llm::Status add_template(std::string name, std::string_view source);
  llm::Status add_templates(const Json& chat_template);
  llm::Result<const llmrt_text_template*> select(bool has_tools) const;

  std::vector<NamedTemplate> templates_;
  Json special_tokens_ = Json::object();  // {"bos_token": "<s>", ...}
};

}  // namespace llmrt::text
