#include "runtime/text/detokenizer.h"

#include <random>
#include <string>
#include <vector>

#include "test/text/test_files.h"

namespace llmrt::text {
namespace {

using Ids = std::vector<TokenId>;

// Feeds `ids`, checks every piece, and returns them put together.
std::string stream(const Tokenizer& tokenizer, const Ids& ids, DecodeMode mode) {
  Detokenizer detokenizer(tokenizer, mode);
  std::string text;
  for (const TokenId id : ids) {
    const auto piece = detokenizer.feed(id);
    EXPECT_TRUE(piece.ok());
    EXPECT_TRUE(is_utf8(*piece));
    text += *piece;
  }
  const auto rest = detokenizer.flush();
  EXPECT_TRUE(rest.ok());
  EXPECT_TRUE(is_utf8(*rest));
  return text + *rest;
}

// Random ids, with runs of ids close together so that byte tokens meet each other often.
Ids random_ids(std::mt19937& random, int64_t vocab_size) {
  Ids ids;
  const int runs = std::uniform_int_distribution<int>(0, 6)(random);
  for (int run = 0; run < runs; ++run) {
    const bool is_narrow = std::bernoulli_distribution(0.6)(random);
    // The first ids are special tokens and bytes; -1 and those above the end are in no vocabulary.
    std::uniform_int_distribution<TokenId> any(-1, is_narrow ? 270 : static_cast<TokenId>(vocab_size) + 1);
    const int length = std::uniform_int_distribution<int>(1, 8)(random);
    for (int i = 0; i < length; ++i) ids.push_back(any(random));
  }
  return ids;
}

void expect_streams_equal_decode(const Tokenizer& tokenizer, int rounds) {
  std::mt19937 random(20250203);
  for (int round = 0; round < rounds; ++round) {
    const Ids ids = random_ids(random, tokenizer.vocab_size());
    for (const DecodeMode mode : {DecodeMode::kSkipSpecialTokens, DecodeMode::kKeepSpecialTokens}) {
      const auto whole = tokenizer.decode(ids, mode);
      ASSERT_TRUE(whole.ok());
      ASSERT_EQ(stream(tokenizer, ids, mode), *whole) << testing::PrintToString(ids);
    }
  }
}

TEST(Detokenizer, RandomIdsByteLevel) {
  expect_streams_equal_decode(tokenizer_of(own_file("byte_level.tokenizer.json")), 3000);
}

TEST(Detokenizer, RandomIdsByteFallback) {
  expect_streams_equal_decode(tokenizer_of(own_file("byte_fallback.tokenizer.json")), 3000);
}

// Other decoders: WordPiece and none join with spaces, BPE marks the ends of words (here with a full stop), Metaspace
// drops the first space.
TEST(Detokenizer, RandomIdsOtherDecoders) {
  const auto original = own_json("byte_fallback.tokenizer.json");
  for (const char* decoder :
       {R"({"type":"WordPiece","prefix":"##","cleanup":true})", R"({"type":"BPEDecoder","suffix":"."})",
        R"({"type":"Metaspace","replacement":"\u2581","prepend_scheme":"always","split":true})", "null"}) {
    SCOPED_TRACE(decoder);
    auto json = original;
    json["decoder"] = nlohmann::ordered_json::parse(decoder, nullptr, false);
    expect_streams_equal_decode(tokenizer_of(json.dump()), 1000);
  }
}

TEST(Detokenizer, SharedTokenizers) {
  for (const char* file : {"tokenizers/phi-2/tokenizer.json", "tokenizers/phi-3-mini/tokenizer.json"}) {
    const auto json = shared_file(file);
    if (!json) GTEST_SKIP() << "no further test data";
    SCOPED_TRACE(file);
    expect_streams_equal_decode(tokenizer_of(*json), 500);
  }
}

TEST(Detokenizer, GivesWordsAtOnceAndCharactersWhole) {
  const Tokenizer tokenizer = tokenizer_of(own_file("byte_level.tokenizer.json"));
  Detokenizer detokenizer(tokenizer);
  const Ids word = *tokenizer.encode("The");
  std::string text;
  for (const TokenId id : word) {
    const std::string piece = *detokenizer.feed(id);
    EXPECT_FALSE(piece.empty());
    text += piece;
  }
  EXPECT_EQ(text, "The");

  const Ids emoji = *tokenizer.encode("\U0001F600");
  ASSERT_GT(emoji.size(), 1u);
  for (size_t i = 0; i + 1 < emoji.size(); ++i) EXPECT_EQ(*detokenizer.feed(emoji[i]), "");
  EXPECT_EQ(*detokenizer.feed(emoji.back()), "\U0001F600");
  EXPECT_EQ(*detokenizer.flush(), "");
}

TEST(Detokenizer, KeepsSpacesBetweenWordsButNotTheFirst) {
  const Tokenizer tokenizer = tokenizer_of(own_file("byte_fallback.tokenizer.json"));
  Detokenizer detokenizer(tokenizer);
  const TokenId the = *tokenizer.token_to_id("\u2581the");
  const TokenId bos = *tokenizer.token_to_id("<s>");
  EXPECT_EQ(*detokenizer.feed(bos), "");
  EXPECT_EQ(*detokenizer.feed(the), "the");
  EXPECT_EQ(*detokenizer.feed(the), " the");
  EXPECT_EQ(*detokenizer.flush(), "");
  // A new text begins.
  EXPECT_EQ(*detokenizer.feed(the), "the");
}

TEST(Detokenizer, HoldsRunsOfFallbackBytesUntilTheyEnd) {
  const Tokenizer tokenizer = tokenizer_of(own_file("byte_fallback.tokenizer.json"));
  const auto byte = [&](const char* name) { return *tokenizer.token_to_id(name); };
  const TokenId the = *tokenizer.token_to_id("\u2581the");
  Detokenizer detokenizer(tokenizer);
  EXPECT_EQ(*detokenizer.feed(the), "the");
  EXPECT_EQ(*detokenizer.feed(byte("<0xC3>")), "");
  EXPECT_EQ(*detokenizer.feed(byte("<0xA9>")), "");
  EXPECT_EQ(*detokenizer.feed(the), "\u00e9 the");
  EXPECT_EQ(*detokenizer.feed(byte("<0xC3>")), "");
  EXPECT_EQ(*detokenizer.flush(), "\uFFFD");
}

}  // namespace
}  // namespace llmrt::text
