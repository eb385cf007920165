#include "runtime/text/stop_strings.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace llmrt::text {
namespace {

TEST(StopStrings, PassesEverythingWithoutStopStrings) {
  StopStringMatcher matcher({""});
  EXPECT_EQ(matcher.feed("abc").text, "abc");
  EXPECT_EQ(matcher.flush(), "");
}

TEST(StopStrings, HoldsBackPossibleStarts) {
  StopStringMatcher matcher({"<|end|>", "STOP"});
  EXPECT_EQ(matcher.feed("abc<").text, "abc");
  EXPECT_EQ(matcher.feed("|e").text, "");
  EXPECT_EQ(matcher.feed("xS").text, "<|ex");
  EXPECT_EQ(matcher.flush(), "S");
}

TEST(StopStrings, MatchesAcrossPieces) {
  StopStringMatcher matcher({"<|end|>", "STOP"});
  EXPECT_EQ(matcher.feed("one ST").text, "one ");
  const auto step = matcher.feed("OP two");
  EXPECT_EQ(step.text, "");
  EXPECT_EQ(step.stop_string, 1u);
  EXPECT_EQ(matcher.feed("three").text, "");
  EXPECT_EQ(matcher.flush(), "");
  EXPECT_EQ(matcher.feed("new").text, "new");
}

TEST(StopStrings, RestartsInsideOfAFailedStart) {
  StopStringMatcher matcher({"aab"});
  EXPECT_EQ(matcher.feed("aa").text, "");
  EXPECT_EQ(matcher.feed("a").text, "a");
  const auto step = matcher.feed("b");
  EXPECT_EQ(step.text, "");
  EXPECT_TRUE(step.stop_string.has_value());
}

TEST(StopStrings, FirstCompleteThenLongest) {
  const auto run = [](std::vector<std::string> stops) { return StopStringMatcher(std::move(stops)).feed("xabcdx"); };
  EXPECT_EQ(run({"abcd", "bc"}).text, "xa");
  EXPECT_EQ(run({"abcd", "bc"}).stop_string, 1u);
  EXPECT_EQ(run({"cd", "abcd"}).text, "x");
  EXPECT_EQ(run({"cd", "abcd"}).stop_string, 1u);
}

// The same text in random pieces: what comes out depends on the text only, and equals a search in the whole text.
TEST(StopStrings, BordersBetweenPiecesDoNotMatter) {
  std::mt19937 random(7);
  const auto below = [&](int limit) { return std::uniform_int_distribution<int>(0, limit - 1)(random); };
  const auto random_text = [&](int length) {
    std::string text;
    for (int i = 0; i < length; ++i) text += "ab\n"[below(3)];
    return text;
  };
  for (int round = 0; round < 5000; ++round) {
    std::vector<std::string> stops(static_cast<size_t>(below(4)));
    for (std::string& stop : stops) stop = random_text(1 + below(5));
    const std::string text = random_text(below(30));

    size_t first_end = std::string::npos;
    size_t first_begin = text.size();
    for (const std::string& stop : stops) {
      const size_t begin = text.find(stop);
      if (begin == std::string::npos) continue;
      const size_t end = begin + stop.size();
      if (end < first_end || (end == first_end && begin < first_begin)) {
        first_end = end;
        first_begin = begin;
      }
    }

    StopStringMatcher matcher(stops);
    std::string out;
    bool has_matched = false;
    for (size_t at = 0; at < text.size() && !has_matched;) {
      const size_t size = std::min<size_t>(text.size() - at, static_cast<size_t>(1 + below(4)));
      const auto step = matcher.feed(std::string_view(text).substr(at, size));
      out += step.text;
      has_matched = step.stop_string.has_value();
      at += size;
    }
    if (!has_matched) out += matcher.flush();
    ASSERT_EQ(has_matched, first_end != std::string::npos);
    ASSERT_EQ(out, text.substr(0, first_begin));
  }
}

}  // namespace
}  // namespace llmrt::text
