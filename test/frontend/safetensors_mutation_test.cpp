// Whatever the bytes are, the parser gives a file that keeps its promises or an error of one line. Meant to run under
// the address and undefined-behaviour sanitizers, and quick without them.
#include <algorithm>
#include <random>

#include "compiler/frontend/safetensors.h"
#include "test/frontend/test_model.h"

namespace llmc::test {
namespace {

void check_promises(const std::string& bytes) {
  auto file = parse_safetensors(as_bytes(bytes), bytes.size(), "f");
  if (!file.ok()) {
    EXPECT_EQ(file.error().message.find('\n'), std::string::npos) << file.error().message;
    return;
  }
  uint64_t covered = 0;
  for (const TensorInfo& tensor : file->tensors) {
    uint64_t bits = static_cast<uint64_t>(dtype_bits(tensor.dtype));
    for (int64_t dim : tensor.shape) {
      EXPECT_GE(dim, 0);
      bits *= static_cast<uint64_t>(dim);
    }
    EXPECT_EQ(tensor.begin, covered);
    EXPECT_EQ(tensor.bytes() * 8, bits);
    covered = tensor.end;
  }
  EXPECT_EQ(file->data_offset + covered, bytes.size());
}

std::string seed_file() {
  return safetensors_bytes(
      {{"model.embed_tokens.weight", {4, 2}, "BF16"}, {"a", {}}, {"b", {3}, "F16"}, {"c", {0, 7}}});
}

TEST(SafetensorsMutation, AnyTruncation) {
  const std::string seed = seed_file();
  for (size_t length = 0; length <= seed.size(); ++length) check_promises(seed.substr(0, length));
}

TEST(SafetensorsMutation, AnyByteReplaced) {
  const std::string seed = seed_file();
  std::mt19937_64 random(1);
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = seed;
    const int changes = 1 + static_cast<int>(random() % 4);
    for (int i = 0; i < changes; ++i) bytes[random() % bytes.size()] = static_cast<char>(random());
    check_promises(bytes);
  }
}

// Swaps in pieces of JSON, so that many mutants are still JSON and reach the deeper checks.
TEST(SafetensorsMutation, PiecesOfJson) {
  const std::vector<std::string> pieces = {
      "0",      "-1",      "1e3", "null", "[]",    "{}",    "\"\"", "4",  "18446744073709551615",
      "\"F4\"", "\"F32\"", ",",   ":",    "\"a\"", "[0,0]", "true", "\\", "9223372036854775808"};
  const std::string seed = seed_file();
  const size_t header = static_cast<size_t>(static_cast<unsigned char>(seed[0])) +
                        256 * static_cast<size_t>(static_cast<unsigned char>(seed[1]));
  std::mt19937_64 random(2);
  for (int round = 0; round < 20'000; ++round) {
    std::string text = seed.substr(8, header);
    for (uint64_t i = 0, count = 1 + random() % 3; i < count; ++i) {
      const size_t at = random() % text.size();
      text.replace(at, random() % 4, pieces[random() % pieces.size()]);
    }
    check_promises(safetensors_bytes(text, seed.size() - 8 - header));
  }
}

// Random layouts: right ones are accepted, and the same ones with one offset moved are not.
TEST(SafetensorsMutation, RandomLayouts) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 500; ++round) {
    std::vector<TestTensor> tensors;
    for (uint64_t i = 0, count = 1 + random() % 8; i < count; ++i) {
      TestTensor tensor{"t" + std::to_string(i), {}, random() % 2 ? "F32" : "BF16"};
      for (uint64_t d = 0, rank = random() % 4; d < rank; ++d)
        tensor.shape.push_back(static_cast<int64_t>(random() % 4));
      tensors.push_back(tensor);
    }
    const std::string bytes = safetensors_bytes(tensors);
    auto file = parse_safetensors(as_bytes(bytes), bytes.size(), "f");
    ASSERT_TRUE(file.ok()) << file.error().message;
    EXPECT_EQ(file->tensors.size(), tensors.size());
    check_promises(bytes + "x");
    EXPECT_FALSE(parse_safetensors(as_bytes(bytes + "x"), bytes.size() + 1, "f").ok());
  }
}

}  // namespace
}  // namespace llmc::test
