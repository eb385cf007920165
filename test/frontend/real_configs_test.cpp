// config.json files of published models, read from a folder outside the tree where it is present.
#include "test/frontend/test_model.h"

namespace llmc::test {
namespace {

class RealConfigs : public ::testing::Test {
 protected:
  static std::string path(const std::string& name) { return std::string(LLMC_SHARED_DATA) + "/configs/" + name; }
  void SetUp() override {
    if (!std::filesystem::exists(path(""))) GTEST_SKIP() << "no folder " << path("");
  }
  static llm::Result<ModelConfig> load(const std::string& name) {
    std::ifstream file(path(name));
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    return parse_model_config(text, name);
  }
};

TEST_F(RealConfigs, Qwen2) {
  auto c = load("Qwen2-7B-Instruct.config.json");
  ASSERT_TRUE(c.ok()) << c.error().message;
  EXPECT_EQ(c->family, Family::kQwen2);
  EXPECT_EQ(c->head_dim, 128);
  EXPECT_EQ(c->num_kv_heads, 4);
  EXPECT_EQ(c->sliding_window, std::vector<int64_t>(28, 0));
  EXPECT_EQ(c->rope.theta, 1e6);
  EXPECT_EQ(c->dtype, DType::kBF16);
  EXPECT_TRUE(c->warnings.empty());
}

TEST_F(RealConfigs, Qwen25WithAnExtraKey) {
  auto c = load("Qwen2.5-0.5B-Instruct.config.json");
  ASSERT_TRUE(c.ok()) << c.error().message;
  EXPECT_EQ(c->head_dim, 64);
  EXPECT_TRUE(c->tie_word_embeddings);
  ASSERT_EQ(c->warnings.size(), 1u);
  EXPECT_NE(c->warnings[0].find("'mask_value'"), std::string::npos);
}

TEST_F(RealConfigs, Qwen3) {
  auto c = load("Qwen3-4B.config.json");
  ASSERT_TRUE(c.ok()) << c.error().message;
  EXPECT_EQ(c->head_dim, 128);
  EXPECT_EQ(c->q_size(), 4096);
  EXPECT_TRUE(c->qk_norm);
  EXPECT_TRUE(c->warnings.empty());
}

TEST_F(RealConfigs, Phi3IsRefusedByName) {
  EXPECT_TRUE(fails_with(load("phi3.5-mini-instruct.config.json"), {"'architectures'", "Phi3ForCausalLM"}));
}

}  // namespace
}  // namespace llmc::test
