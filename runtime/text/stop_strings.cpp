#include "runtime/text/stop_strings.h"

#include <algorithm>
#include <utility>

namespace llmrt::text {

StopStringMatcher::Step StopStringMatcher::feed(std::string_view piece) {
  if (has_matched_) return {};
  pending_.append(piece);

  std::optional<size_t> match;
  size_t match_begin = 0;
  size_t match_end = 0;
  for (size_t i = 0; i < stop_strings_.size(); ++i) {
    if (stop_strings_[i].empty()) continue;
    const size_t begin = pending_.find(stop_strings_[i]);
    if (begin == std::string::npos) continue;
    const size_t end = begin + stop_strings_[i].size();
    if (!match || end < match_end || (end == match_end && begin < match_begin)) {
      match = i;
      match_begin = begin;
      match_end = end;
    }
  }
  if (match) {
    has_matched_ = true;
    std::string before = pending_.substr(0, match_begin);
    pending_.clear();
    return {std::move(before), match};
  }

  const size_t settled = pending_.size() - held_back_size();
  std::string text = pending_.substr(0, settled);
  pending_.erase(0, settled);
  return {std::move(text), std::nullopt};
}

std::string StopStringMatcher::flush() {
  has_matched_ = false;
  return std::exchange(pending_, {});
}

// Size of the longest end of the pending text that a stop string starts with.
size_t StopStringMatcher::held_back_size() const {
  const std::string_view pending = pending_;
  size_t longest = 0;
  for (const std::string& stop : stop_strings_) {
    if (stop.empty()) continue;
    for (size_t size = std::min(stop.size() - 1, pending.size()); size > longest; --size) {
      if (std::string_view(stop).starts_with(pending.substr(pending.size() - size))) longest = size;
    }
  }
  return longest;
}

}  // namespace llmrt::text
