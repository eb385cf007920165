#include "compiler/frontend/quote.h"

namespace llmc {

std::string quote(std::string_view text) {
  constexpr size_t kMaxQuotedChars = 120;
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out = "'";
  for (char c : text.substr(0, kMaxQuotedChars)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      out += "\\x";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    } else {
      out += c;
    }
  }
  if (text.size() > kMaxQuotedChars) out += "...";
  return out + "'";
}

std::string shape_text(std::span<const int64_t> shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) out += (i ? ", " : "") + std::to_string(shape[i]);
  return out + "]";
}

}  // namespace llmc
