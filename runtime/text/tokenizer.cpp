#include "runtime/text/tokenizer.h"

#include "runtime/text/owned_text.h"
#include "runtime/text/text.h"

namespace llmrt::text {
namespace {

llm::Error error_of(const OwnedText& message) { return llm::Error{message.str()}; }

}  // namespace

void Tokenizer::Deleter::operator()(llmrt_text_tokenizer* handle) const { llmrt_text_tokenizer_free(handle); }

llm::Result<Tokenizer> Tokenizer::from_json(std::string_view json) {
  OwnedText error;
  llmrt_text_tokenizer* handle = nullptr;
  if (llmrt_text_tokenizer_new(json.data(), json.size(), &handle, error.out()) != 0) return error_of(error);
  return Tokenizer(handle);
}

llm::Result<std::vector<TokenId>> Tokenizer::encode(std::string_view text, EncodeMode mode) const {
  OwnedText error;
  llmrt_text_ids ids{};
  const uint32_t flags = mode == EncodeMode::kAddSpecialTokens ? LLMRT_TEXT_ADD_SPECIAL : 0;
  if (llmrt_text_encode(handle_.get(), text.data(), text.size(), flags, &ids, error.out()) != 0) {
    return error_of(error);
  }
  std::vector<TokenId> result(ids.data, ids.data + ids.size);
  llmrt_text_ids_free(&ids);
  return result;
}

llm::Result<std::string> Tokenizer::decode(std::span<const TokenId> ids, DecodeMode mode) const {
  OwnedText error;
  OwnedText text;
  const uint32_t flags = mode == DecodeMode::kSkipSpecialTokens ? LLMRT_TEXT_SKIP_SPECIAL : 0;
  // The signed and the unsigned type may alias; negative ids become huge ones, which no vocabulary holds.
  const auto* data = reinterpret_cast<const uint32_t*>(ids.data());
  if (llmrt_text_decode(handle_.get(), data, ids.size(), flags, text.out(), error.out()) != 0) return error_of(error);
  return text.str();
}

int64_t Tokenizer::vocab_size() const { return llmrt_text_vocab_size(handle_.get()); }

llm::Result<TokenId> Tokenizer::token_to_id(std::string_view token) const {
  OwnedText error;
  uint32_t id = 0;
  if (llmrt_text_token_to_id(handle_.get(), token.data(), token.size(), &id, error.out()) != 0) return error_of(error);
  return static_cast<TokenId>(id);
}

llm::Result<std::string> Tokenizer::id_to_token(TokenId id) const {
  OwnedText error;
  OwnedText token;
  if (llmrt_text_id_to_token(handle_.get(), static_cast<uint32_t>(id), token.out(), error.out()) != 0) {
    return error_of(error);
  }
  return token.str();
}

llm::Result<std::string> Tokenizer::token_bytes(TokenId id) const {
  OwnedText error;
  OwnedText bytes;
  if (llmrt_text_token_bytes(handle_.get(), static_cast<uint32_t>(id), bytes.out(), error.out()) != 0) {
    return error_of(error);
  }
  return bytes.str();
}

TokenKind Tokenizer::kind(TokenId id) const {
  const uint32_t bits = llmrt_text_token_kind(handle_.get(), static_cast<uint32_t>(id));
  return {.in_vocabulary = (bits & LLMRT_TEXT_TOKEN_UNKNOWN) == 0,
          .special = (bits & LLMRT_TEXT_TOKEN_SPECIAL) != 0,
          .fallback_byte = (bits & LLMRT_TEXT_TOKEN_BYTE) != 0};
}

}  // namespace llmrt::text
