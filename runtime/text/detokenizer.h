// Incremental detokenization: ids one by one in, text that is safe to print out.
//
// All pieces and the flush, put together, are exactly Tokenizer::decode of all ids. This needs two kinds of waiting:
//  - text that ends in U+FFFD may be the first bytes of a character whose rest is still to come;
//  - a run of byte-fallback tokens (<0xE4><0xBD><0xA0>) is decoded as a whole: one bad byte turns every byte of the run
//    into U+FFFD, so that nothing of a run is certain before another token ends it.
#pragma once

#include <string>
#include <vector>

#include "plan/result.h"
#include "runtime/text/tokenizer.h"

namespace llmrt::text {

class Detokenizer {
 public:
  // `tokenizer` must outlive this object.
  explicit Detokenizer(const Tokenizer& tokenizer, DecodeMode mode = DecodeMode::kSkipSpecialTokens)
      : tokenizer_(&tokenizer), mode_(mode) {}

  // The text that `id` settles, whole UTF-8 characters only; often empty.
  llm::Result<std::string> feed(TokenId id);

  // The text still held back. The object then starts a new text.
  llm::Result<std::string> flush();

 private:
  enum class Hold { kUnsettled, kNothing };
  llm::Result<std::string> settle(Hold hold);

  const Tokenizer* tokenizer_;
  DecodeMode mode_;
  // The last ids whose text was returned. Decoders treat the first token of a text differently (leading space); with
  // these ids in front, the pending ones are not first.
  std::vector<TokenId> context_;
  std::string context_text_;  // decode(context_)
  std::vector<TokenId> pending_;
};

}  // namespace llmrt::text
