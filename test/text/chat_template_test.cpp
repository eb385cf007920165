#include "runtime/text/chat_template.h"

#include <random>
#include <string>
#include <string_view>

#include "test/text/test_files.h"

namespace llmrt::text {
namespace {

Json conversation_named(const Json& conversations, const std::string& name) {
  for (const Json& conversation : conversations) {
    if (conversation["name"] == name) return conversation;
  }
  ADD_FAILURE() << "no conversation " << name;
  return nullptr;
}

ChatInput input_of(const Json& conversation, const Json& goldens) {
  ChatInput input;
  input.messages = conversation["messages"];
  if (conversation.contains("tools")) input.tools = conversation["tools"];
  if (!conversation.value("add_generation_prompt", true)) input.generation_prompt = GenerationPrompt::kNone;
  if (conversation.contains("variables")) input.variables = conversation["variables"];
  input.variables["strftime_now"] = goldens["now"];
  return input;
}

void expect_goldens(const ChatTemplate& chat_template, const Json& goldens, const Json& cases) {
  const Json conversations = own_json("conversations.json");
  ASSERT_FALSE(cases.empty());
  for (const Json& golden : cases) {
    const auto name = golden["conversation"].get<std::string>();
    SCOPED_TRACE(name);
    const auto text = chat_template.render(input_of(conversation_named(conversations, name), goldens));
    if (golden.contains("text")) {
      EXPECT_EQ(text.ok() ? *text : text.error().message, golden["text"].get<std::string>());
      continue;
    }
    // Messages of the template itself are the same; those of the engine are worded differently.
    EXPECT_FALSE(text.ok()) << "expected the error: " << golden["error"];
    if (!text.ok() && !golden["error"].get<std::string>().starts_with("can only concatenate")) {
      EXPECT_NE(text.error().message.find(golden["error"].get<std::string>()), std::string::npos)
          << text.error().message;
    }
  }
}

TEST(ChatTemplate, OwnTemplatesRenderAsInPython) {
  const Json goldens = own_json("template_goldens.json");
  const std::string config = goldens["special_tokens"].dump();
  for (const auto& [file, cases] : goldens["own"].items()) {
    SCOPED_TRACE(file);
    const auto chat_template = ChatTemplate::from_model_files(config, own_file("templates/" + file));
    ASSERT_TRUE(chat_template.ok()) << chat_template.error().message;
    expect_goldens(*chat_template, goldens, cases);
  }
}

TEST(ChatTemplate, SharedTemplatesRenderAsInPython) {
  const Json goldens = own_json("template_goldens.json");
  for (const auto& [file, cases] : goldens["shared"].items()) {
    const auto text = shared_file(file);
    if (!text) GTEST_SKIP() << "no further test data";
    SCOPED_TRACE(file);
    const bool is_jinja = file.ends_with(".jinja");
    Json config = is_jinja ? Json::object() : Json::parse(*text, nullptr, false);
    ASSERT_TRUE(config.is_object());
    config.update(goldens["special_tokens"]);
    const auto chat_template =
        ChatTemplate::from_model_files(config.dump(), is_jinja ? std::optional<std::string_view>(*text) : std::nullopt);
    ASSERT_TRUE(chat_template.ok()) << chat_template.error().message;
    expect_goldens(*chat_template, goldens, cases);
  }
}

llm::Result<std::string> render(const std::string& source, const ChatInput& input = {}) {
  LLM_ASSIGN(const ChatTemplate chat_template, ChatTemplate::from_model_files("{}", source));
  return chat_template.render(input);
}

TEST(ChatTemplate, ReadsTheConfig) {
  const char* config = R"({
    "bos_token": "<s>", "eos_token": {"__type": "AddedToken", "content": "</s>", "lstrip": false},
    "unk_token": null, "add_bos_token": true, "image_token": "<img>",
    "chat_template": [
      {"name": "default", "template": "{{ bos_token }}{{ eos_token }}{{ image_token }}{{ unk_token is defined }}"},
      {"name": "tool_use", "template": "tools {{ tools | length }}"}]})";
  const auto chat_template = ChatTemplate::from_model_files(config);
  ASSERT_TRUE(chat_template.ok()) << chat_template.error().message;
  ChatInput input;
  EXPECT_EQ(*chat_template->render(input), "<s></s><img>False");
  input.variables["bos_token"] = "other";
  EXPECT_EQ(*chat_template->render(input), "other</s><img>False");
  input.tools = Json::parse("[1, 2]", nullptr, false);
  EXPECT_EQ(*chat_template->render(input), "tools 2");

  // The file of its own wins over all of them.
  const auto from_file = ChatTemplate::from_model_files(config, "from file");
  ASSERT_TRUE(from_file.ok());
  EXPECT_EQ(*from_file->render(input), "from file");
}

TEST(ChatTemplate, ShowsTheLocalTime) {
  const auto year = render("{{ strftime_now('%Y') }}");
  ASSERT_TRUE(year.ok()) << year.error().message;
  EXPECT_GE(std::stoi(*year), 2024);
  ChatInput input;
  input.variables["strftime_now"] = "yesterday";
  EXPECT_FALSE(render("{{ strftime_now('%Y') }}", input).ok());
}

TEST(ChatTemplate, NormalizesLineEndsAndDropsOneAtTheEnd) {
  EXPECT_EQ(*render("a\r\nb\rc\n"), "a\nb\nc");
  EXPECT_EQ(*render("{% if true %}\r\n  {% endif %}\r\nx\n\n"), "x\n");
}

TEST(ChatTemplate, ReportsBadTemplates) {
  const auto error_of = [](const std::string& source) { return render(source).error().message; };
  EXPECT_TRUE(error_of("line\n{% if %}").starts_with("chat template, line 2: syntax error"))
      << error_of("line\n{% if %}");
  EXPECT_FALSE(render("{{ unclosed").ok());
  EXPECT_FALSE(render("{% generation %}").ok());
  EXPECT_FALSE(render("\xff").ok());
  EXPECT_EQ(error_of("{{ raise_exception('too bad') }}"), "chat template, line 1: too bad");
  EXPECT_FALSE(render("{{ missing.attribute }}").ok());
  EXPECT_FALSE(render("{{ missing | tojson }}").ok());
  EXPECT_FALSE(render("{{ messages.append(1) }}").ok());
  EXPECT_EQ(error_of("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}"),
            "chat template, line 1: engine ran out of fuel");
  EXPECT_FALSE(render("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}").ok());
}

std::string repeat(const std::string& text, int count) {
  std::string out;
  for (int i = 0; i < count; ++i) out += text;
  return out;
}

// Long chains are deep trees inside; they must be refused before they overflow the stack.
TEST(ChatTemplate, SurvivesDeepTemplates) {
  for (const int count : {500, 7000, 100000}) {
    SCOPED_TRACE(count);
    const std::string sources[] = {
        "{{ " + repeat("(", count) + "1" + repeat(")", count) + " }}",
        "{{ " + repeat("-", count) + "1 }}",
        "{{ " + repeat("not ", count) + "1 }}",
        "{{ 1" + repeat("+1", count) + " }}",
        "{{ 'a'" + repeat("~'\\'}}'", count) + " }}",
        "{{ a" + repeat(".a", count) + " }}",
        "{{ 1" + repeat("|int", count) + " }}",
        "{{ 1" + repeat("**1", count) + " }}",
        "{% if 0 %}" + repeat("{% elif 0 %}", count) + "{% endif %}",
        repeat("{% if 1 %}", count) + repeat("{% endif %}", count),
    };
    for (const std::string& source : sources) {
      const bool is_rendered = render(source).ok();
      EXPECT_FALSE(is_rendered && count == 100000) << source.substr(0, 20);
    }
  }
  const std::string literal(100000, 'x');
  EXPECT_EQ(*render("{{ '" + literal + "' }}"), literal);
}

// Damaged templates fail or render; what they must not do is end the process.
TEST(ChatTemplate, SurvivesDamagedTemplates) {
  const Json goldens = own_json("template_goldens.json");
  const Json conversations = own_json("conversations.json");
  std::mt19937 random(11);
  const auto below = [&](size_t limit) { return std::uniform_int_distribution<size_t>(0, limit - 1)(random); };
  const std::string_view fragments[] = {"{%", "%}", "{{", "}}", "{#",    "-",   "endif",
                                        "(",  "\"", "\\", "|",  "[::0]", " 9 ", "*"};
  for (const auto& [file, cases] : goldens["own"].items()) {
    const std::string original = own_file("templates/" + file);
    for (int round = 0; round < 150; ++round) {
      std::string source = original;
      for (size_t i = 0; i < 1 + below(3); ++i) {
        const size_t at = below(source.size());
        source.replace(at, below(12), fragments[below(std::size(fragments))]);
      }
      const auto text = render(source, input_of(conversations[below(conversations.size())], goldens));
      EXPECT_TRUE(!text.ok() || is_utf8(*text));
    }
  }
}

TEST(ChatTemplate, ReportsBadInput) {
  EXPECT_FALSE(ChatTemplate::from_model_files("{").ok());
  EXPECT_FALSE(ChatTemplate::from_model_files("[]").ok());
  EXPECT_FALSE(ChatTemplate::from_model_files(R"({"chat_template": 1})").ok());
  EXPECT_FALSE(ChatTemplate::from_model_files(R"({"chat_template": [{"name": "default"}]})").ok());
  EXPECT_NE(ChatTemplate::from_model_files("{}").error().message.find("no chat template"), std::string::npos);

  const auto only_rag = ChatTemplate::from_model_files(R"({"chat_template": [{"name": "rag", "template": "x"}]})");
  ASSERT_TRUE(only_rag.ok());
  EXPECT_EQ(only_rag->render({}).error().message, "chat template: none is named default, found rag");

  ChatInput input;
  input.messages = Json::object();
  EXPECT_EQ(render("x", input).error().message, "messages: found object, expected a list");
  input.messages = Json::array({1});
  EXPECT_FALSE(render("x", input).ok());
  input.messages = Json::array();
  input.variables["deep"] = Json::parse(std::string(100000, '[') + std::string(100000, ']'), nullptr, false);
  EXPECT_FALSE(render("x", input).ok());
  input.variables = Json::object();
  // Text that is not UTF-8 cannot come out of a JSON parser, but it must not throw if it comes from elsewhere.
  input.messages = Json::array({{{"role", "user"}, {"content", "\xff"}}});
  EXPECT_EQ(*render("{{ messages[0].content }}", input), "\uFFFD");
}

}  // namespace
}  // namespace llmrt::text
