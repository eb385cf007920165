// Text to token ids and back, from a Hugging Face tokenizer.json.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "plan/result.h"

struct llmrt_text_tokenizer;

namespace llmrt::text {

// As the kernels and the config files have it. Negative ids are in no vocabulary.
using TokenId = int32_t;

// Whether `encode` lets the post-processor of the file add its tokens (BOS and the like). Rendered chat templates hold
// them already: encode these with kAsWritten, or BOS is there twice.
enum class EncodeMode { kAsWritten, kAddSpecialTokens };

enum class DecodeMode { kSkipSpecialTokens, kKeepSpecialTokens };

struct TokenKind {
  bool in_vocabulary = false;
  bool special = false;        // dropped by kSkipSpecialTokens
  bool fallback_byte = false;  // one raw byte, spelled <0xXX>; settled only when the run of such tokens has ended
};

// Immutable; any number of threads may use one at the same time.
class Tokenizer {
 public:
  // `json`: contents of tokenizer.json. Truncation and padding settings in it are ignored.
  static llm::Result<Tokenizer> from_json(std::string_view json);

  // Special tokens that are spelled out in `text` become their ids in both modes. Error: `text` is not UTF-8.
  llm::Result<std::vector<TokenId>> encode(std::string_view text, EncodeMode mode = EncodeMode::kAsWritten) const;

  // Ids outside of the vocabulary are skipped (models pad their vocabulary); bytes that are not UTF-8 become U+FFFD.
  llm::Result<std::string> decode(std::span<const TokenId> ids, DecodeMode mode = DecodeMode::kSkipSpecialTokens) const;

  // One above the highest id, added tokens included.
  int64_t vocab_size() const;

  // By vocabulary spelling ("\u2581the", "\u0120the", "<|end|>").
  llm::Result<TokenId> token_to_id(std::string_view token) const;
  llm::Result<std::string> id_to_token(TokenId id) const;

  // The bytes that a token stands for in the middle of a text; may be a part of a UTF-8 character.
  llm::Result<std::string> token_bytes(TokenId id) const;

  TokenKind kind(TokenId id) const;
  bool is_special(TokenId id) const { return kind(id).special; }

 private:
  struct Deleter {
    void operator()(llmrt_text_tokenizer* handle) const;
  };
  explicit Tokenizer(llmrt_text_tokenizer* handle) : handle_(handle) {}

  std::unique_ptr<llmrt_text_tokenizer, Deleter> handle_;
};

}  // namespace llmrt::text
