// What the C functions of text.h hand out, as values that free themselves.
#pragma once

#include <string>

#include "runtime/text/text.h"

namespace llmrt::text {

class OwnedText {
 public:
  OwnedText() = default;
  OwnedText(const OwnedText&) = delete;
  OwnedText& operator=(const OwnedText&) = delete;
  ~OwnedText() { llmrt_text_string_free(&raw_); }

  llmrt_text_string* out() { return &raw_; }
  std::string str() const { return raw_.size == 0 ? std::string() : std::string(raw_.data, raw_.size); }

 private:
  llmrt_text_string raw_{};
};

}  // namespace llmrt::text
