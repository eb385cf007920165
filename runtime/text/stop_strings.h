// Finds stop strings in a stream of text pieces and holds back what may turn out to be the start of one.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace llmrt::text {

// The match is the one that is complete first; among those that end at the same byte, the longest. So the result does
// not depend on where the borders between the pieces are.
class StopStringMatcher {
 public:
  struct Step {
    std::string text;                   // safe to print: before the match, or not the start of one
    std::optional<size_t> stop_string;  // index of the one that matched; the stream has ended
  };

  // Empty stop strings are ignored. None at all is fine: every piece passes through.
  explicit StopStringMatcher(std::vector<std::string> stop_strings) : stop_strings_(std::move(stop_strings)) {}

  // If the pieces and the stop strings are UTF-8, so is every text that comes out. After a match nothing comes out.
  Step feed(std::string_view piece);

  // What is still held back when the stream ends without a match. The object then starts a new stream.
  std::string flush();

 private:
  size_t held_back_size() const;

  std::vector<std::string> stop_strings_;
  std::string pending_;
  bool has_matched_ = false;
};

}  // namespace llmrt::text
