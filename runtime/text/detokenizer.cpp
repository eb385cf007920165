#include "runtime/text/detokenizer.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace llmrt::text {
namespace {

constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

// Length of the common start of two texts, in whole UTF-8 characters.
size_t common_prefix(std::string_view a, std::string_view b) {
  const auto differ = std::mismatch(a.begin(), a.end(), b.begin(), b.end()).second;
  size_t length = static_cast<size_t>(differ - b.begin());
  while (length > 0 && length < b.size() && (static_cast<unsigned char>(b[length]) & 0xC0) == 0x80) --length;
  return length;
}

}  // namespace

llm::Result<std::string> Detokenizer::feed(TokenId id) {
  const TokenKind kind = tokenizer_->kind(id);
  // decode() drops these before it looks at neighbours; so they must not end a run of bytes here either.
  if (!kind.in_vocabulary || (kind.special && mode_ == DecodeMode::kSkipSpecialTokens)) return std::string();
  pending_.push_back(id);
  if (kind.fallback_byte) return std::string();
  return settle(Hold::kUnsettled);
}

llm::Result<std::string> Detokenizer::flush() {
  llm::Result<std::string> rest = pending_.empty() ? std::string() : settle(Hold::kNothing);
  context_.clear();
  context_text_.clear();
  pending_.clear();
  return rest;
}

llm::Result<std::string> Detokenizer::settle(Hold hold) {
  std::vector<TokenId> ids = context_;
  ids.insert(ids.end(), pending_.begin(), pending_.end());
  LLM_ASSIGN(const std::string text, tokenizer_->decode(ids, mode_));
  if (hold == Hold::kUnsettled) {
    // A decoder that rewrites what it has already said (none of the usual ones does) is left to settle.
    if (!text.starts_with(context_text_) || text.ends_with(kReplacementCharacter)) return std::string();
  }
  std::string piece = text.substr(common_prefix(context_text_, text));
  // Ids without text are no context: the next one would count as first.
  if (piece.empty()) return piece;
  context_ = std::exchange(pending_, {});
  LLM_ASSIGN(context_text_, tokenizer_->decode(context_, mode_));
  return piece;
}

}  // namespace llmrt::text
