// Files that the tests of runtime/text read.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/text/tokenizer.h"

namespace llmrt::text {

inline std::optional<std::string> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// From test/text/data; always there.
inline std::string own_file(const std::string& name) {
  const auto text = read_file(std::string(TEXT_TEST_DATA) + "/" + name);
  EXPECT_TRUE(text.has_value()) << name;
  return text.value_or("");
}

// From the optional data folder; std::nullopt when it is not there.
inline std::optional<std::string> shared_file(const std::string& name) {
  return read_file(std::string(LLMC_SHARED_DATA) + "/" + name);
}

inline nlohmann::ordered_json own_json(const std::string& name) {
  nlohmann::ordered_json value = nlohmann::ordered_json::parse(own_file(name), nullptr, false);
  EXPECT_FALSE(value.is_discarded()) << name;
  return value;
}

inline Tokenizer tokenizer_of(std::string_view json) {
  auto tokenizer = Tokenizer::from_json(json);
  if (!tokenizer.ok()) {
    ADD_FAILURE() << tokenizer.error().message;
    std::abort();  // Nothing after this could run; the message is printed first.
  }
  return std::move(*tokenizer);
}

// Well-formed as in the Unicode standard, table 3-7 (no overlong forms, no surrogates).
inline bool is_utf8(std::string_view text) {
  const auto byte = [&](size_t at) { return at < text.size() ? static_cast<unsigned char>(text[at]) : 0; };
  for (size_t at = 0; at < text.size();) {
    const unsigned lead = byte(at);
    const size_t size = lead < 0x80 ? 1 : lead >= 0xC2 && lead < 0xE0 ? 2 : (lead & 0xF0) == 0xE0 ? 3 : 4;
    if (size == 4 && (lead < 0xF0 || lead > 0xF4)) return false;
    uint32_t code = size == 1 ? lead : lead & (0x7Fu >> size);
    for (size_t i = 1; i < size; ++i) {
      if ((byte(at + i) & 0xC0) != 0x80) return false;
      code = code << 6 | (byte(at + i) & 0x3F);
    }
    if ((size == 3 && (code < 0x800 || (code >= 0xD800 && code < 0xE000))) ||
        (size == 4 && (code < 0x10000 || code > 0x10FFFF))) {
      return false;
    }
    at += size;
  }
  return true;
}

}  // namespace llmrt::text
