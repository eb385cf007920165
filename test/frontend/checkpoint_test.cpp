#include "compiler/frontend/checkpoint.h"

#include <chrono>

#include "test/frontend/test_model.h"

namespace llmc::test {
namespace {

std::string index_of(const std::vector<std::pair<std::string, std::string>>& shard_of_tensor) {
  nlohmann::json map = nlohmann::json::object();
  for (const auto& [tensor, shard] : shard_of_tensor) map[tensor] = shard;
  return nlohmann::json{{"metadata", {{"total_size", 0}}}, {"weight_map", map}}.dump();
}

constexpr const char* kIndex = "model.safetensors.index.json";

class CheckpointTest : public ::testing::Test {
 protected:
  // Two shards: a and b in the second one, c in the first.
  void write_two_shards() {
    folder_.write("m-2.safetensors", safetensors_bytes({{"a", {2}}, {"b", {3}}}));
    folder_.write("m-1.safetensors", safetensors_bytes({{"c", {1}}}));
    folder_.write(kIndex, index_of({{"a", "m-2.safetensors"}, {"b", "m-2.safetensors"}, {"c", "m-1.safetensors"}}));
  }
  llm::Result<Checkpoint> open() { return Checkpoint::open(folder_.path()); }

  TempFolder folder_;
};

TEST_F(CheckpointTest, OpensASingleFile) {
  folder_.write("model.safetensors", safetensors_bytes({{"a", {2}}, {"b", {3}}}));
  auto checkpoint = open();
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->tensor_count(), 2u);
  ASSERT_NE(checkpoint->find("b"), nullptr);
  EXPECT_EQ(checkpoint->find("b")->begin, 8u);
  EXPECT_EQ(checkpoint->find("c"), nullptr);
}

TEST_F(CheckpointTest, OpensShardsInTheOrderOfTheirNames) {
  write_two_shards();
  auto opened = open();
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  const Checkpoint checkpoint = std::move(*opened);  // views must survive the move
  std::string order;
  checkpoint.for_each([&](const TensorInfo& tensor) { order += tensor.name; });
  EXPECT_EQ(order, "cab");
  EXPECT_EQ(checkpoint.find("c")->file, 0u);
  EXPECT_EQ(checkpoint.find("b")->file, 1u);
  EXPECT_EQ(checkpoint.files()[1].path, folder_.path() + "/m-2.safetensors");
}

TEST_F(CheckpointTest, ASingleFileWinsOverAnIndex) {
  write_two_shards();
  folder_.write("model.safetensors", safetensors_bytes({{"z", {2}}}));
  auto checkpoint = open();
  ASSERT_TRUE(checkpoint.ok());
  EXPECT_NE(checkpoint->find("z"), nullptr);
}

TEST_F(CheckpointTest, ReadsRanges) {
  write_two_shards();
  auto checkpoint = open();
  ASSERT_TRUE(checkpoint.ok());
  const TensorInfo& b = *checkpoint->find("b");  // bytes 8..20 of its file's data
  auto bytes = checkpoint->read_range(b, 1, 2);
  ASSERT_TRUE(bytes.ok());
  EXPECT_EQ(*bytes, (std::vector<std::byte>{std::byte{9 * 7}, std::byte{10 * 7}}));
  EXPECT_EQ(checkpoint->read(b)->size(), 12u);
  EXPECT_TRUE(checkpoint->read_range(b, 12, 0).ok());
  EXPECT_TRUE(fails_with(checkpoint->read_range(b, 11, 2), {"tensor 'b'", "12"}));
  EXPECT_TRUE(fails_with(checkpoint->read_range(b, UINT64_MAX, 2), {"tensor 'b'"}));
}

TEST_F(CheckpointTest, MapsAFile) {
  write_two_shards();
  auto checkpoint = open();
  ASSERT_TRUE(checkpoint.ok());
  auto file = checkpoint->map(1);
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->bytes()[checkpoint->files()[1].data_offset + 3], std::byte{21});
}

TEST_F(CheckpointTest, RefusesAFolderWithoutSafetensors) {
  EXPECT_TRUE(fails_with(open(), {folder_.path(), "neither model.safetensors"}));
  folder_.write("pytorch_model.bin", "");
  EXPECT_TRUE(fails_with(open(), {"pytorch_model.bin", "convert"}));
}

TEST_F(CheckpointTest, RefusesShardNamesThatLeaveTheFolder) {
  for (const std::string name : {"../m.safetensors", "/etc/m.safetensors", "sub/m.safetensors", "..\\m.safetensors",
                                 "..", "", ".safetensors", "m.bin", "..safetensors"}) {
    folder_.write(kIndex, index_of({{"a", name}}));
    EXPECT_TRUE(fails_with(open(), {kIndex, "tensor 'a'", "shard name '" + name + "'"})) << name;
  }
  folder_.write(kIndex, R"({"weight_map":{"a":"m\u0000.safetensors"}})");
  EXPECT_TRUE(fails_with(open(), {"tensor 'a'", "m\\x00.safetensors"}));
}

TEST_F(CheckpointTest, RefusesAMissingShard) {
  write_two_shards();
  std::filesystem::remove(folder_.path() + "/m-1.safetensors");
  EXPECT_TRUE(fails_with(open(), {kIndex, "'m-1.safetensors'", "tensor 'c'", "missing"}));
}

TEST_F(CheckpointTest, RefusesAnIndexThatNamesATensorItsShardLacks) {
  write_two_shards();
  folder_.write(
      kIndex,
      index_of(
          {{"a", "m-2.safetensors"}, {"b", "m-2.safetensors"}, {"c", "m-1.safetensors"}, {"d", "m-1.safetensors"}}));
  EXPECT_TRUE(fails_with(open(), {kIndex, "tensor 'd'", "'m-1.safetensors'"}));
}

TEST_F(CheckpointTest, RefusesATensorThatTheIndexLacks) {
  write_two_shards();
  folder_.write(kIndex, index_of({{"a", "m-2.safetensors"}, {"c", "m-1.safetensors"}}));
  EXPECT_TRUE(fails_with(open(), {"m-2.safetensors", "tensor 'b'", "not in"}));
}

TEST_F(CheckpointTest, RefusesATensorInAnotherShardThanTheIndexSays) {
  write_two_shards();
  folder_.write(kIndex, index_of({{"a", "m-1.safetensors"}, {"b", "m-2.safetensors"}, {"c", "m-1.safetensors"}}));
  EXPECT_TRUE(fails_with(open(), {"tensor 'a'", "'m-1.safetensors'"}));
}

TEST_F(CheckpointTest, RefusesATensorInTwoShards) {
  write_two_shards();
  folder_.write("m-1.safetensors", safetensors_bytes({{"c", {1}}, {"a", {2}}}));
  // Whichever shard the index names, the other one is the culprit: here it is met first.
  EXPECT_TRUE(fails_with(open(), {"m-1.safetensors", "tensor 'a'", "'m-2.safetensors'"}));
  folder_.write(kIndex, index_of({{"a", "m-1.safetensors"}, {"b", "m-2.safetensors"}, {"c", "m-1.safetensors"}}));
  EXPECT_TRUE(fails_with(open(), {"m-2.safetensors", "tensor 'a' is also in", "m-1.safetensors"}));
}

TEST_F(CheckpointTest, RefusesBadIndexes) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"{", "not valid JSON"},
      {"[]", "'weight_map'"},
      {"{}", "'weight_map'"},
      {R"({"weight_map":[]})", "'weight_map'"},
      {R"({"weight_map":{}})", "'weight_map' is empty"},
      {R"({"weight_map":{"a":1}})", "tensor 'a'"},
      {R"({"weight_map":{"a":"m.safetensors","a":"m.safetensors"}})", "tensor 'a' appears twice"},
  };
  for (const auto& [text, what] : cases) {
    folder_.write(kIndex, text);
    EXPECT_TRUE(fails_with(open(), {kIndex, what})) << text;
  }
}

TEST_F(CheckpointTest, RefusesTooManyTensorsInAllShardsTogether) {
  for (int shard = 0; shard < 2; ++shard) {
    std::string header = "{";
    for (int i = 0; i < 60'000; ++i) {
      header += (i ? ",\"" : "\"") + std::to_string(shard) + "_" + std::to_string(i) +
                R"(":{"dtype":"F32","shape":[0],"data_offsets":[0,0]})";
    }
    folder_.write("m-" + std::to_string(shard) + ".safetensors", safetensors_bytes(header + "}", 0));
  }
  std::string index = R"({"weight_map":{)";
  for (int i = 0; i < 120'000; ++i) {
    const std::string shard = std::to_string(i % 2);
    index += (i ? ",\"" : "\"") + shard + "_" + std::to_string(i / 2) + R"(":"m-)" + shard + R"(.safetensors")";
  }
  folder_.write(kIndex, index + "}}");
  EXPECT_TRUE(fails_with(open(), {"more than 100000 tensors"}));
}

// 80 layers of 9 tensors in 30 shards, the shape of a 70B model: headers must cost milliseconds.
TEST_F(CheckpointTest, OpensTheHeadersOfALargeModelQuickly) {
  constexpr int kShards = 30;
  std::vector<std::pair<std::string, std::string>> map;
  for (int shard = 0; shard < kShards; ++shard) {
    std::vector<TestTensor> tensors;
    const std::string file = "model-" + std::to_string(10000 + shard) + "-of-00030.safetensors";
    for (int i = 0; i < 24; ++i) {
      const std::string name =
          "model.layers." + std::to_string(shard) + ".self_attn.tensor_" + std::to_string(i) + ".weight";
      tensors.push_back({name, {4, 4}, "BF16"});
      map.emplace_back(name, file);
    }
    folder_.write(file, safetensors_bytes(tensors));
  }
  folder_.write(kIndex, index_of(map));
  const auto start = std::chrono::steady_clock::now();
  auto checkpoint = open();
  const std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - start;
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  EXPECT_EQ(checkpoint->tensor_count(), 720u);
  EXPECT_LT(elapsed.count(), 500.0);  // some 3 ms; sanitizers and busy machines take longer
  RecordProperty("milliseconds", std::to_string(elapsed.count()));
}

}  // namespace
}  // namespace llmc::test
