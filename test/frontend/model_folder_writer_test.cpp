// The generator of random models: what it writes, the frontend reads; and it writes the same everywhere.
#include "tools/model_folder_writer.h"

#include <sys/stat.h>

#include <cmath>
#include <map>

#include "compiler/frontend/weights.h"
#include "test/frontend/test_model.h"

namespace llmc::test {
namespace {

ModelConfig config_of(const std::string& model_type) {
  auto config = parse(config_json(model_type));
  EXPECT_TRUE(config.ok()) << config.error().message;
  return *config;
}

void write_model(const ModelConfig& config, ModelFolderOptions options, const std::string& folder) {
  options.folder = folder;
  auto summary = write_model_folder(config, "{}", options);
  ASSERT_TRUE(summary.ok()) << summary.error().message;
}

std::map<std::string, std::vector<std::byte>> read_tensors(const std::string& folder) {
  std::map<std::string, std::vector<std::byte>> out;
  auto checkpoint = Checkpoint::open(folder);
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  if (!checkpoint.ok()) return out;
  checkpoint->for_each([&](const TensorInfo& tensor) { out[tensor.name] = *checkpoint->read(tensor); });
  return out;
}

TEST(RandomWeights, AreTheSameOnEveryMachine) {
  const uint64_t key = tensor_key(20, "model.norm.weight");
  EXPECT_EQ(key, 0xb863eead1cdb50fu);
  float f32[3];
  uint16_t bf16[3];
  uint16_t f16[3];
  fill_random(key, 5, 3, {1.0f, 0.3f}, DType::kF32, reinterpret_cast<std::byte*>(f32));
  fill_random(key, 5, 3, {1.0f, 0.3f}, DType::kBF16, reinterpret_cast<std::byte*>(bf16));
  fill_random(key, 5, 3, {0.0f, 1e-5f}, DType::kF16, reinterpret_cast<std::byte*>(f16));  // subnormal
  const float expected_f32[3] = {0x1.e83e6cp-1f, 0x1.7171d2p+0f, 0x1.8c14c4p-1f};
  const uint16_t expected_bf16[3] = {0x3f74, 0x3fb9, 0x3f46};
  const uint16_t expected_f16[3] = {0x801a, 0xf8, 0x807f};
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(f32[i], expected_f32[i]);
    EXPECT_EQ(bf16[i], expected_bf16[i]);
    EXPECT_EQ(f16[i], expected_f16[i]);
  }
}

TEST(RandomWeights, HaveTheMeanAndStandardDeviationAskedFor) {
  std::vector<float> values(1 << 18);
  fill_random(1, 0, values.size(), {1.0f, 0.3f}, DType::kF32, reinterpret_cast<std::byte*>(values.data()));
  double sum = 0;
  double squares = 0;
  for (float value : values) {
    sum += value - 1.0;
    squares += (value - 1.0) * (value - 1.0);
  }
  const auto n = static_cast<double>(values.size());
  EXPECT_NEAR(sum / n, 0.0, 3e-3);
  EXPECT_NEAR(std::sqrt(squares / n), 0.3, 3e-3);
}

TEST(ModelFolderWriter, DependsOnNeitherThreadsNorShards) {
  TempFolder one;
  TempFolder many;
  TempFolder other_seed;
  const ModelConfig config = config_of("qwen2");
  write_model(config, {.dtype = DType::kF16, .seed = 3, .threads = 1}, one.path());
  write_model(config, {.dtype = DType::kF16, .seed = 3, .shard_count = 4, .threads = 3}, many.path());
  write_model(config, {.dtype = DType::kF16, .seed = 4}, other_seed.path());
  EXPECT_TRUE(std::filesystem::exists(many.path() + "/model-00004-of-00004.safetensors"));
  EXPECT_TRUE(std::filesystem::exists(many.path() + "/model.safetensors.index.json"));
  const auto tensors = read_tensors(one.path());
  EXPECT_EQ(tensors, read_tensors(many.path()));
  EXPECT_NE(tensors, read_tensors(other_seed.path()));
}

TEST(ModelFolderWriter, LimitsTheShardSize) {
  TempFolder folder;
  write_model(config_of("llama"), {.dtype = DType::kF32, .max_shard_bytes = 4000}, folder.path());
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    if (entry.path().extension() == ".safetensors") EXPECT_LT(entry.file_size(), 4000u + 3000u);  // and the header
  }
  EXPECT_EQ(read_tensors(folder.path()).size(), 21u);
}

TEST(ModelFolderWriter, HeadersOnlyTakesNoSpace) {
  nlohmann::json json = config_json("llama");
  json.merge_patch({{"vocab_size", 100000}, {"hidden_size", 4096}, {"num_attention_heads", 32}, {"head_dim", 128}});
  const ModelConfig config = *parse(json);
  TempFolder folder;
  write_model(config, {.shard_count = 2, .headers_only = true}, folder.path());
  auto checkpoint = Checkpoint::open(folder.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  EXPECT_TRUE(match_weights(config, *checkpoint).ok());
  uint64_t size = 0;
  uint64_t on_disk = 0;
  for (const SafetensorsFile& file : checkpoint->files()) {
    struct stat info = {};
    ASSERT_EQ(::stat(file.path.c_str(), &info), 0);
    size += static_cast<uint64_t>(info.st_size);
    on_disk += static_cast<uint64_t>(info.st_blocks) * 512;
  }
  EXPECT_GT(size, 1'600'000'000u);
  EXPECT_LT(on_disk, 1'000'000u);
}

TEST(ModelFolderWriter, RefusesAFolderWithWeights) {
  TempFolder folder;
  const ModelConfig config = config_of("llama");
  write_model(config, {.shard_count = 3}, folder.path());
  EXPECT_TRUE(
      fails_with(write_model_folder(config, "{}", {.folder = folder.path()}), {folder.path(), "already", "--force"}));
  write_model(config, {.overwrite = true}, folder.path());
  EXPECT_FALSE(std::filesystem::exists(folder.path() + "/model.safetensors.index.json"));
  EXPECT_EQ(read_tensors(folder.path()).size(), 21u);
}

TEST(ModelFolderWriter, GoldenConfigsGiveModelsThatTheFrontendReads) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(LLMC_GOLDEN_CONFIGS)) {
    std::ifstream file(entry.path());
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    auto config = parse_model_config(text, entry.path());
    ASSERT_TRUE(config.ok()) << config.error().message;
    EXPECT_TRUE(config->warnings.empty()) << config->warnings[0];
    TempFolder folder;
    write_model(*config, {.dtype = *config->dtype}, folder.path());
    auto checkpoint = Checkpoint::open(folder.path());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
    auto weights = match_weights(*config, *checkpoint);
    ASSERT_TRUE(weights.ok()) << weights.error().message;
    EXPECT_EQ(weights->linear_dtype(), *config->dtype);
    ++count;
  }
  EXPECT_GE(count, 13);
}

}  // namespace
}  // namespace llmc::test
