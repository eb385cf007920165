#include "runtime/text/tokenizer.h"

#include <string>
#include <vector>

#include "test/text/test_files.h"

namespace llmrt::text {
namespace {

using Ids = std::vector<TokenId>;

void expect_goldens(const Tokenizer& tokenizer, const nlohmann::ordered_json& cases) {
  ASSERT_FALSE(cases.empty());
  for (const auto& golden : cases) {
    const auto text = golden["text"].get<std::string>();
    const auto ids = golden["ids"].get<Ids>();
    SCOPED_TRACE("text: " + text);
    const auto as_written = tokenizer.encode(text);
    ASSERT_TRUE(as_written.ok()) << as_written.error().message;
    EXPECT_EQ(*as_written, ids);
    const auto with_special = tokenizer.encode(text, EncodeMode::kAddSpecialTokens);
    ASSERT_TRUE(with_special.ok()) << with_special.error().message;
    EXPECT_EQ(*with_special, golden["ids_with_special"].get<Ids>());
    const auto decoded = tokenizer.decode(ids);
    ASSERT_TRUE(decoded.ok()) << decoded.error().message;
    EXPECT_EQ(*decoded, golden["decoded"].get<std::string>());
    const auto decoded_with_special = tokenizer.decode(ids, DecodeMode::kKeepSpecialTokens);
    ASSERT_TRUE(decoded_with_special.ok()) << decoded_with_special.error().message;
    EXPECT_EQ(*decoded_with_special, golden["decoded_with_special"].get<std::string>());
  }
}

TEST(Tokenizer, MatchesPythonOnOwnTokenizers) {
  const auto goldens = own_json("tokenizer_goldens.json");
  for (const auto& [file, cases] : goldens["own"].items()) {
    SCOPED_TRACE(file);
    expect_goldens(tokenizer_of(own_file(file)), cases);
  }
}

class SharedTokenizer : public testing::TestWithParam<const char*> {};

TEST_P(SharedTokenizer, MatchesPython) {
  const auto json = shared_file(GetParam());
  if (!json) GTEST_SKIP() << "no further test data";
  const auto goldens = own_json("tokenizer_goldens.json");
  expect_goldens(tokenizer_of(*json), goldens["shared"][GetParam()]);
}

INSTANTIATE_TEST_SUITE_P(Tokenizer, SharedTokenizer,
                         testing::Values("tokenizers/phi-2/tokenizer.json", "tokenizers/phi-3-mini/tokenizer.json"),
                         [](const auto& info) { return info.index == 0 ? "phi_2" : "phi_3_mini"; });

// A long French text and the ids that Llama gives to it; Phi-3 has the vocabulary of Llama.
TEST(Tokenizer, EncodesLongTextAsLlamaDoes) {
  const auto tokenizer_json = shared_file("tokenizers/phi-3-mini/tokenizer.json");
  const auto encoded_json = shared_file("tokenizers/swift_llama_encoded.json");
  if (!tokenizer_json || !encoded_json) GTEST_SKIP() << "no further test data";
  const auto encoded = nlohmann::json::parse(*encoded_json, nullptr, false);
  Ids expected = encoded["token_ids"].get<Ids>();
  ASSERT_FALSE(expected.empty());
  ASSERT_EQ(expected.front(), 1);  // <s>, which the file of Phi-3 does not add
  expected.erase(expected.begin());
  const auto ids = tokenizer_of(*tokenizer_json).encode(encoded["text"].get<std::string>());
  ASSERT_TRUE(ids.ok()) << ids.error().message;
  EXPECT_EQ(*ids, expected);
}

TEST(Tokenizer, LooksUpTokens) {
  const Tokenizer tokenizer = tokenizer_of(own_file("byte_fallback.tokenizer.json"));
  const auto id = tokenizer.token_to_id("<|end|>");
  ASSERT_TRUE(id.ok()) << id.error().message;
  EXPECT_EQ(*id, tokenizer.vocab_size() - 1);
  const auto token = tokenizer.id_to_token(*id);
  ASSERT_TRUE(token.ok());
  EXPECT_EQ(*token, "<|end|>");
  EXPECT_TRUE(tokenizer.is_special(1));  // <s>
  EXPECT_FALSE(tokenizer.is_special(*id));
  EXPECT_TRUE(tokenizer.kind(3).fallback_byte);  // <0x00>
  EXPECT_FALSE(tokenizer.kind(-1).in_vocabulary);
  EXPECT_FALSE(tokenizer.kind(static_cast<TokenId>(tokenizer.vocab_size())).in_vocabulary);

  EXPECT_EQ(tokenizer.token_to_id("no such token").error().message, "token \"no such token\" is not in the vocabulary");
  EXPECT_FALSE(tokenizer.id_to_token(1 << 30).ok());
  EXPECT_FALSE(tokenizer.token_bytes(-1).ok());
}

// The bytes of all tokens of a text make up the text, even where tokens split characters.
TEST(Tokenizer, TokenBytesMakeUpTheText) {
  const std::string text = "The fox, d\u00e9j\u00e0 vu \u4f60\u597d \n\U0001F600<|end|>";
  for (const char* file : {"byte_level.tokenizer.json", "byte_fallback.tokenizer.json"}) {
    SCOPED_TRACE(file);
    const Tokenizer tokenizer = tokenizer_of(own_file(file));
    const auto ids = tokenizer.encode(text);
    ASSERT_TRUE(ids.ok());
    std::string bytes;
    for (const TokenId id : *ids) bytes += *tokenizer.token_bytes(id);
    // SentencePiece style puts a space in front.
    EXPECT_EQ(bytes.substr(bytes.starts_with(' ') ? 1 : 0), text);
  }
}

TEST(Tokenizer, SkipsIdsOutsideOfTheVocabulary) {
  const Tokenizer tokenizer = tokenizer_of(own_file("byte_level.tokenizer.json"));
  Ids ids = *tokenizer.encode("The fox");
  const std::string text = *tokenizer.decode(ids);
  ids.insert(ids.begin() + 1, {-1, 1 << 30, static_cast<TokenId>(tokenizer.vocab_size())});
  EXPECT_EQ(*tokenizer.decode(ids), text);
}

TEST(Tokenizer, ReportsBadInput) {
  for (const char* json : {"", "{", "[]", "{\"model\": {\"type\": \"Nonsense\"}}", "\xff"}) {
    const auto tokenizer = Tokenizer::from_json(json);
    ASSERT_FALSE(tokenizer.ok()) << json;
    EXPECT_TRUE(tokenizer.error().message.starts_with("tokenizer.json: ")) << tokenizer.error().message;
  }
  const Tokenizer tokenizer = tokenizer_of(own_file("byte_level.tokenizer.json"));
  EXPECT_EQ(tokenizer.encode("ab\xc3(").error().message, "text to encode: invalid UTF-8 at byte 2 of 4");
  EXPECT_EQ(*tokenizer.encode(std::string_view()), Ids());
  EXPECT_EQ(*tokenizer.decode({}), "");
}

}  // namespace
}  // namespace llmrt::text
