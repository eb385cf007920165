// The example model end to end: chat template, tokenizer, requests, detokenizer. Its held-back questions, all submitted
// at once, and one story, whose text transformers wrote in float32 (example_story.txt).
#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <map>
#include <nlohmann/json.hpp>

#include "plan/mapped_file.h"
#include "runtime/text/chat_template.h"
#include "runtime/text/tokenizer.h"
#include "test/runtime/test_engine.h"

namespace llmrt_test {
namespace {

struct Options {
  EngineSpec engine;
  std::string questions, story;
} g_options;

constexpr double kRightShare = 0.95;  // at least; transformers' greedy answers are all right

class Example : public testing::Test {
 protected:
  void SetUp() override {
    auto engine = TestEngine::open(g_options.engine);
    ASSERT_TRUE(engine) << engine.error().message;
    engine_ = std::move(*engine);
    auto tokenizer = llmrt::text::Tokenizer::from_json(asset("tokenizer.json"));
    ASSERT_TRUE(tokenizer) << tokenizer.error().message;
    tokenizer_ = std::make_unique<llmrt::text::Tokenizer>(std::move(*tokenizer));
    auto chat = llmrt::text::ChatTemplate::from_model_files(asset("tokenizer_config.json"));
    ASSERT_TRUE(chat) << chat.error().message;
    chat_ = std::make_unique<llmrt::text::ChatTemplate>(std::move(*chat));
    end_ = nlohmann::json::parse(asset("generation_config.json")).at("eos_token_id");
  }

  std::string_view asset(const char* name) {
    size_t bytes = 0;
    const char* text = llmrt_text_asset(engine_->get(), name, &bytes);
    EXPECT_NE(text, nullptr) << name;
    return text ? std::string_view(text, bytes) : std::string_view();
  }

  std::vector<int32_t> encode(const std::string& question) {
    llmrt::text::ChatInput input;
    input.messages.push_back({{"role", "user"}, {"content", question}});
    const auto rendered = chat_->render(input);
    EXPECT_TRUE(rendered);
    const auto ids = tokenizer_->encode(*rendered);
    EXPECT_TRUE(ids);
    return *ids;
  }

  // Greedy answers to all questions at once.
  std::vector<std::string> answers(const std::vector<std::string>& questions, uint64_t max_tokens) {
    std::map<uint64_t, size_t> index;
    for (size_t i = 0; i < questions.size(); ++i) {
      const std::vector<int32_t> prompt = encode(questions[i]);
      llmrt_request r;
      llmrt_request_init(&r);
      r.prompt = prompt.data(), r.prompt_tokens = prompt.size(), r.max_tokens = max_tokens;
      r.stop_ids = &end_, r.stop_count = 1;
      uint64_t id = 0;
      EXPECT_EQ(llmrt_submit(engine_->get(), &r, &id), 0) << llmrt_error(engine_->get());
      index[id] = i;
    }
    std::vector<std::vector<int32_t>> ids(questions.size());
    for (int active = 1; active;) {
      const llmrt_event* events;
      size_t count;
      if (llmrt_poll(engine_->get(), 1, &events, &count, &active) != 0) {
        ADD_FAILURE() << llmrt_error(engine_->get());
        break;
      }
      for (size_t i = 0; i < count; ++i)
        if (events[i].id >= 0) ids[index.at(events[i].request)].push_back(events[i].id);
    }
    std::vector<std::string> texts;
    for (const auto& list : ids) texts.push_back(*tokenizer_->decode(list));
    return texts;
  }

  std::unique_ptr<TestEngine> engine_;
  std::unique_ptr<llmrt::text::Tokenizer> tokenizer_;
  std::unique_ptr<llmrt::text::ChatTemplate> chat_;
  int32_t end_ = -1;
};

TEST_F(Example, AnswersTheHeldBackQuestions) {
  const auto text = llm::read_text_file(g_options.questions);
  ASSERT_TRUE(text) << text.error().message;
  std::vector<std::string> questions, expected;
  for (const auto& item : nlohmann::json::parse(*text)) {
    questions.push_back(item.at("prompt"));
    expected.push_back(item.at("answer"));
  }
  ASSERT_EQ(questions.size(), 400u);
  const std::vector<std::string> got = answers(questions, 32);
  size_t right = 0;
  for (size_t i = 0; i < questions.size(); ++i) {
    right += got[i] == expected[i];
    if (got[i] != expected[i])
      std::printf("    '%s': '%s', not '%s'\n", questions[i].c_str(), got[i].c_str(), expected[i].c_str());
  }
  std::printf("    %zu of %zu right\n", right, questions.size());
  EXPECT_GE(static_cast<double>(right), kRightShare * static_cast<double>(questions.size()));
}

// The file holds the question, an empty line and the story.
TEST_F(Example, TellsTheStoryOfTransformers) {
  const auto text = llm::read_text_file(g_options.story);
  ASSERT_TRUE(text) << text.error().message;
  const size_t end = text->find("\n\n");
  ASSERT_NE(end, std::string::npos);
  const std::vector<std::string> got = answers({text->substr(0, end)}, 300);
  EXPECT_EQ(got[0] + "\n", text->substr(end + 2));
}

}  // namespace
}  // namespace llmrt_test

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  auto& o = llmrt_test::g_options;
  CLI::App app{"The example model end to end"};
  app.add_option("--plan", o.engine.plan, "Plan of examples/tiny-fable")->required();
  app.add_option("--model-dir", o.engine.model_dir, "Its folder")->required();
  app.add_option("--questions", o.questions, "held_back.json")->required();
  app.add_option("--story", o.story, "example_story.txt")->required();
  app.add_option("--device", o.engine.device, "auto, cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--target", o.engine.target, "Target of the plan (default: the best that runs)");
  app.add_flag("--ptx", o.engine.force_ptx, "CUDA: run the target's PTX");
  CLI11_PARSE(app, argc, argv);
  return RUN_ALL_TESTS();
}
