#include "compiler/frontend/safetensors.h"

#include "test/frontend/test_model.h"

namespace llmc::test {
namespace {

llm::Result<SafetensorsFile> parse_bytes(const std::string& bytes) {
  return parse_safetensors(as_bytes(bytes), bytes.size(), "dir/model.safetensors");
}

llm::Result<SafetensorsFile> parse_header(const std::string& header, size_t data_bytes) {
  return parse_bytes(safetensors_bytes(header, data_bytes));
}

// A header with one tensor "w" of these fields over 8 bytes of data.
llm::Result<SafetensorsFile> parse_entry(const std::string& fields) {
  return parse_header("{\"w\":{" + fields + "}}", 8);
}

TEST(Safetensors, ReadsTensorsInOffsetOrder) {
  auto file = parse_header(
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,2],"data_offsets":[4,12]},)"
      R"("a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"z":{"dtype":"I8","shape":[0,5],"data_offsets":[4,4]}}   )",
      12);
  ASSERT_TRUE(file.ok()) << file.error().message;
  ASSERT_EQ(file->tensors.size(), 3u);
  EXPECT_EQ(file->tensors[0].name, "a");
  EXPECT_EQ(file->tensors[0].shape, std::vector<int64_t>{});
  EXPECT_EQ(file->tensors[1].name, "z");
  EXPECT_EQ(file->tensors[1].bytes(), 0u);
  EXPECT_EQ(file->tensors[2].name, "b");
  EXPECT_EQ(file->tensors[2].dtype, DType::kBF16);
  EXPECT_EQ(file->tensors[2].shape, (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(file->data_offset + 12, file->file_size);
}

TEST(Safetensors, AcceptsAnEmptyFile) { EXPECT_TRUE(parse_header("{}", 0).ok()); }

TEST(Safetensors, HashChangesWithAnyHeaderByte) {
  auto a = parse_header(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8);
  auto b = parse_header(R"({"v":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8);
  auto c = parse_header(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}} )", 8);
  ASSERT_TRUE(a.ok() && b.ok() && c.ok());
  EXPECT_NE(a->header_hash, b->header_hash);
  EXPECT_NE(a->header_hash, c->header_hash);
}

TEST(Safetensors, KnowsEveryDtypeAndItsSize) {
  const std::vector<std::pair<std::string, int>> dtypes = {
      {"BOOL", 8},    {"U8", 8},      {"I8", 8},          {"U16", 16},       {"I16", 16},    {"U32", 32},
      {"I32", 32},    {"U64", 64},    {"I64", 64},        {"F16", 16},       {"BF16", 16},   {"F32", 32},
      {"F64", 64},    {"C64", 64},    {"F8_E5M2", 8},     {"F8_E4M3", 8},    {"F8_E8M0", 8}, {"F4", 4},
      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}};
  for (const auto& [name, bits] : dtypes) {
    const std::string end = std::to_string(bits);  // 8 elements
    auto file = parse_header("{\"w\":{\"dtype\":\"" + name + "\",\"shape\":[2,4],\"data_offsets\":[0," + end + "]}}",
                             static_cast<size_t>(bits));
    ASSERT_TRUE(file.ok()) << file.error().message;
    EXPECT_EQ(dtype_name(file->tensors[0].dtype), name);
    EXPECT_EQ(dtype_bits(file->tensors[0].dtype), bits);
  }
}

TEST(SafetensorsReject, TruncatedBeforeTheLength) {
  EXPECT_TRUE(fails_with(parse_bytes(""), {"dir/model.safetensors", "truncated", "0 bytes"}));
  EXPECT_TRUE(fails_with(parse_bytes("\x05\0\0"), {"truncated"}));
}

TEST(SafetensorsReject, TruncatedInTheHeader) {
  const std::string bytes = safetensors_bytes({{"w", {2}}});
  EXPECT_TRUE(fails_with(parse_bytes(bytes.substr(0, 20)), {"dir/model.safetensors", "truncated", "12 bytes"}));
}

TEST(SafetensorsReject, TruncatedInTheData) {
  const std::string bytes = safetensors_bytes({{"v", {2}}, {"w", {2}}});
  EXPECT_TRUE(fails_with(parse_bytes(bytes.substr(0, bytes.size() - 1)), {"tensor 'w'", "truncated", "byte 16", "15"}));
}

TEST(SafetensorsReject, HeaderLengthOverTheLimit) {
  std::string bytes = safetensors_bytes({{"w", {2}}});
  bytes.replace(0, 8, std::string("\x01\xe1\xf5\x05\0\0\0\0", 8));  // 100,000,001
  EXPECT_TRUE(fails_with(parse_bytes(bytes), {"header length 100000001", "100000000"}));
  bytes.replace(0, 8, std::string(8, '\xff'));
  EXPECT_TRUE(fails_with(parse_bytes(bytes), {"header length 18446744073709551615"}));
}

TEST(SafetensorsReject, NotJson) {
  EXPECT_TRUE(fails_with(parse_header("", 0), {"does not begin with '{'"}));
  EXPECT_TRUE(fails_with(parse_header(" {}", 0), {"does not begin with '{'"}));
  EXPECT_TRUE(fails_with(parse_header("[]", 0), {"does not begin with '{'"}));
  EXPECT_TRUE(fails_with(parse_header("{\"w\":", 0), {"not valid JSON"}));
  EXPECT_TRUE(fails_with(parse_header("{} x", 0), {"not valid JSON"}));
  EXPECT_TRUE(fails_with(parse_header("{\"\xff\":1}", 0), {"not valid JSON"}));
  EXPECT_TRUE(fails_with(parse_header("{\"a\":" + std::string(5000, '['), 0), {"not valid JSON"}));
}

TEST(SafetensorsReject, Overlap) {
  EXPECT_TRUE(fails_with(parse_header(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                                      R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
                                      12),
                         {"tensor 'b' overlaps tensor 'a'", "byte 4", "byte 8"}));
}

TEST(SafetensorsReject, Holes) {
  EXPECT_TRUE(fails_with(parse_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8),
                         {"hole before tensor 'a'", "bytes 0 to 4"}));
  EXPECT_TRUE(fails_with(parse_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 8),
                         {"hole at the end", "4 bytes of 8"}));
  EXPECT_TRUE(fails_with(parse_header("{}", 8), {"hole at the end"}));
}

TEST(SafetensorsReject, OffsetsBeyondTheBuffer) {
  EXPECT_TRUE(fails_with(parse_entry(R"("dtype":"F32","shape":[4],"data_offsets":[0,16])"), {"tensor 'w'", "16", "8"}));
  EXPECT_TRUE(
      fails_with(parse_entry(R"("dtype":"F32","shape":[2],"data_offsets":[18446744073709551607,18446744073709551615])"),
                 {"tensor 'w'", "18446744073709551615"}));
}

TEST(SafetensorsReject, OffsetsThatEndBeforeTheyBegin) {
  EXPECT_TRUE(fails_with(parse_entry(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"), {"tensor 'w'", "[8, 0)"}));
}

TEST(SafetensorsReject, ShapeOverflow) {
  EXPECT_TRUE(fails_with(parse_entry(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8])"),
                         {"tensor 'w'", "[4294967296, 4294967296]", "overflow"}));
  EXPECT_TRUE(fails_with(parse_entry(R"("dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,8])"),
                         {"tensor 'w'", "'shape'", "2^63-1"}));
  EXPECT_TRUE(fails_with(parse_entry(R"("dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,8])"),
                         {"dir/model.safetensors"}));
}

TEST(SafetensorsReject, SizeUnlikeShape) {
  EXPECT_TRUE(fails_with(parse_entry(R"("dtype":"F16","shape":[2],"data_offsets":[0,8])"),
                         {"tensor 'w'", "[2] of F16", "needs 4 bytes", "hold 8"}));
  EXPECT_TRUE(
      fails_with(parse_entry(R"("dtype":"F4","shape":[3],"data_offsets":[0,8])"), {"tensor 'w'", "whole number"}));
}

TEST(SafetensorsReject, WrongFields) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"("dtype":"F33","shape":[2],"data_offsets":[0,8])", "unknown dtype 'F33'"},
      {R"("dtype":7,"shape":[2],"data_offsets":[0,8])", "'dtype' is not a string"},
      {R"("shape":[2],"data_offsets":[0,8])", "'dtype' is missing"},
      {R"("dtype":"F32","data_offsets":[0,8])", "'shape' is missing"},
      {R"("dtype":"F32","shape":[2])", "'data_offsets' is missing"},
      {R"("dtype":"F32","shape":2,"data_offsets":[0,8])", "'shape' is not an array"},
      {R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])", "'shape' holds"},
      {R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])", "'shape' holds"},
      {R"("dtype":"F32","shape":["2"],"data_offsets":[0,8])", "'shape' holds"},
      {R"("dtype":"F32","shape":[2],"data_offsets":[0])", "'data_offsets' is not two"},
      {R"("dtype":"F32","shape":[2],"data_offsets":[0,8,8])", "'data_offsets' is not two"},
      {R"("dtype":"F32","shape":[2],"data_offsets":[-8,0])", "'data_offsets' is not two"},
      {R"("dtype":"F32","shape":[2],"data_offsets":{})", "'data_offsets' is not an array"},
      {R"("dtype":"F32","shape":[2],"data_offsets":[0,8],"strides":[1])", "unknown key 'strides'"},
      {R"("dtype":"F32","dtype":"F16","shape":[2],"data_offsets":[0,8])", "'dtype' appears twice"},
  };
  for (const auto& [fields, what] : cases) EXPECT_TRUE(fails_with(parse_entry(fields), {"tensor 'w'", what})) << fields;
  EXPECT_TRUE(fails_with(parse_header(R"({"w":[]})", 0), {"tensor 'w'", "no JSON object"}));
}

TEST(SafetensorsReject, DuplicateNames) {
  EXPECT_TRUE(fails_with(parse_header(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                                      R"("\u0061":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
                                      8),
                         {"tensor 'a' appears twice"}));
  EXPECT_TRUE(
      fails_with(parse_header(R"({"__metadata__":{},"__metadata__":{}})", 0), {"'__metadata__' appears twice"}));
}

TEST(SafetensorsReject, Metadata) {
  EXPECT_TRUE(fails_with(parse_header(R"({"__metadata__":{"a":1}})", 0), {"'__metadata__'", "'a'"}));
  EXPECT_TRUE(fails_with(parse_header(R"({"__metadata__":"pt"})", 0), {"'__metadata__'"}));
}

TEST(SafetensorsReject, TooManyTensors) {
  std::string header = "{";
  for (int i = 0; i <= 100'000; ++i) {
    header += (i ? ",\"" : "\"") + std::to_string(i) + R"(":{"dtype":"F32","shape":[0],"data_offsets":[0,0]})";
  }
  EXPECT_TRUE(fails_with(parse_header(header + "}", 0), {"more than 100000 tensors"}));
}

TEST(SafetensorsReject, NamesCannotBreakTheMessage) {
  EXPECT_TRUE(fails_with(parse_header("{\"a\\nb\\u001b[31m\":[]}", 0), {"'a\\x0ab\\x1b[31m'"}));
}

TEST(SafetensorsReject, MissingFileAndFolder) {
  TempFolder folder;
  EXPECT_TRUE(fails_with(open_safetensors(folder.path() + "/none"), {"/none", "cannot open"}));
  EXPECT_TRUE(fails_with(open_safetensors(folder.path()), {folder.path(), "not a regular file"}));
}

}  // namespace
}  // namespace llmc::test
