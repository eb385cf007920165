// The border of text.h itself: ownership, NULL, and errors. What the functions do is tested through the C++ classes.
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "runtime/text/text.h"
#include "test/text/test_files.h"

namespace llmrt::text {
namespace {

TEST(TextCApi, FreesNothing) {
  llmrt_text_string string{};
  llmrt_text_ids ids{};
  llmrt_text_string_free(&string);
  llmrt_text_string_free(nullptr);
  llmrt_text_ids_free(&ids);
  llmrt_text_ids_free(nullptr);
  llmrt_text_tokenizer_free(nullptr);
  llmrt_text_template_free(nullptr);
}

TEST(TextCApi, RefusesNull) {
  llmrt_text_string error{};
  llmrt_text_string out{};
  EXPECT_EQ(llmrt_text_decode(nullptr, nullptr, 0, 0, &out, &error), 1);
  EXPECT_EQ(std::string(error.data, error.size), "tokenizer is NULL");
  EXPECT_EQ(out.data, nullptr);
  llmrt_text_string_free(&error);
  EXPECT_EQ(error.data, nullptr);
  llmrt_text_string_free(&error);

  // Without a place for the message only the status comes back.
  EXPECT_EQ(llmrt_text_tokenizer_new(nullptr, 0, nullptr, nullptr), 1);
  EXPECT_EQ(llmrt_text_vocab_size(nullptr), 0u);
  EXPECT_EQ(llmrt_text_token_kind(nullptr, 0), static_cast<uint32_t>(LLMRT_TEXT_TOKEN_UNKNOWN));
  EXPECT_EQ(llmrt_text_template_render(nullptr, "[]", 2, "{}", 2, &out, nullptr), 1);
}

TEST(TextCApi, EmptyResultsAreNull) {
  llmrt_text_template* chat_template = nullptr;
  ASSERT_EQ(llmrt_text_template_new(nullptr, 0, &chat_template, nullptr), 0);
  llmrt_text_string out{};
  EXPECT_EQ(llmrt_text_template_render(chat_template, "[]", 2, "{}", 2, &out, nullptr), 0);
  EXPECT_EQ(out.data, nullptr);
  EXPECT_EQ(out.size, 0u);
  llmrt_text_string error{};
  EXPECT_EQ(llmrt_text_template_render(chat_template, "{}", 2, "{}", 2, &out, &error), 1);
  EXPECT_EQ(std::string(error.data, error.size), "messages: expected a JSON list");
  llmrt_text_string_free(&error);
  EXPECT_EQ(llmrt_text_template_render(chat_template, "[]", 2, "[]", 2, &out, nullptr), 1);
  llmrt_text_template_free(chat_template);
}

TEST(TextCApi, OneTokenizerForManyThreads) {
  const Tokenizer tokenizer = tokenizer_of(own_file("byte_level.tokenizer.json"));
  const std::string text = "The small fox went into the forest and found the river.";
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 50; ++round) {
        const auto ids = tokenizer.encode(text);
        EXPECT_EQ(*tokenizer.decode(*ids), text);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace llmrt::text
