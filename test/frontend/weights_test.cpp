#include "compiler/frontend/weights.h"

#include <algorithm>

#include "compiler/frontend/quote.h"
#include "test/frontend/test_model.h"

namespace llmc::test {
namespace {

using nlohmann::json;

class WeightsTest : public ::testing::Test {
 protected:
  void use(const std::string& model_type, const json& patch = json::object()) {
    json json_config = config_json(model_type);
    json_config.merge_patch(patch);
    auto parsed = parse(json_config);
    ASSERT_TRUE(parsed.ok()) << parsed.error().message;
    config_ = *parsed;
    tensors_.clear();
    for (const WeightSpec& spec : family_info(config_.family).weights(config_))
      tensors_.push_back({spec.name, spec.shape});
  }

  TestTensor& tensor(const std::string& name) {
    return *std::find_if(tensors_.begin(), tensors_.end(), [&](const TestTensor& t) { return t.name == name; });
  }
  void remove(const std::string& name) {
    std::erase_if(tensors_, [&](const TestTensor& t) { return t.name == name; });
  }

  llm::Result<ModelWeights> match() {
    folder_.write("model.safetensors", safetensors_bytes(tensors_));
    auto checkpoint = Checkpoint::open(folder_.path());
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.error().message;
    return match_weights(config_, *checkpoint);
  }

  TempFolder folder_;
  ModelConfig config_;
  std::vector<TestTensor> tensors_;
};

TEST_F(WeightsTest, FindsEveryTensorOfEveryFamily) {
  for (const char* family : {"llama", "mistral", "qwen2", "qwen3"}) {
    use(family);
    auto weights = match();
    ASSERT_TRUE(weights.ok()) << weights.error().message;
    EXPECT_EQ(weights->all().size(), tensors_.size());
    EXPECT_EQ(weights->linear_dtype(), DType::kF32);
    EXPECT_TRUE(weights->ignored().empty());
  }
}

TEST_F(WeightsTest, FindsByRoleAndLayer) {
  use("qwen2");
  auto weights = match();
  ASSERT_TRUE(weights.ok());
  const Weight* v_bias = weights->find(WeightRole::kVBias, 1);
  ASSERT_NE(v_bias, nullptr);
  EXPECT_EQ(v_bias->tensor.name, "model.layers.1.self_attn.v_proj.bias");
  EXPECT_EQ(v_bias->tensor.shape, (std::vector<int64_t>{8}));
  EXPECT_EQ(weights->find(WeightRole::kLmHead)->tensor.name, "lm_head.weight");
  EXPECT_EQ(weights->find(WeightRole::kOBias, 1), nullptr);
  EXPECT_EQ(weights->find(WeightRole::kVBias, 2), nullptr);
  EXPECT_EQ(weights->find(WeightRole::kVBias), nullptr);
  EXPECT_EQ(weights->find(WeightRole::kVBias, -5), nullptr);
}

TEST_F(WeightsTest, AcceptsNamesWithoutThePrefix) {
  use("llama");
  for (TestTensor& t : tensors_) {
    if (t.name.starts_with("model.")) t.name = t.name.substr(6);
  }
  auto weights = match();
  ASSERT_TRUE(weights.ok()) << weights.error().message;
  EXPECT_EQ(weights->find(WeightRole::kQProj, 0)->tensor.name, "layers.0.self_attn.q_proj.weight");
}

TEST_F(WeightsTest, IgnoresInvFreq) {
  use("llama");
  tensors_.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", {2}});
  auto weights = match();
  ASSERT_TRUE(weights.ok()) << weights.error().message;
  EXPECT_EQ(weights->ignored(), (std::vector<std::string>{"model.layers.0.self_attn.rotary_emb.inv_freq"}));
}

TEST_F(WeightsTest, NormsAndBiasesMayHaveAnotherDtype) {
  use("qwen2");
  for (TestTensor& t : tensors_) t.dtype = t.shape.size() == 1 ? "F32" : "BF16";
  auto weights = match();
  ASSERT_TRUE(weights.ok()) << weights.error().message;
  EXPECT_EQ(weights->linear_dtype(), DType::kBF16);
}

TEST_F(WeightsTest, RefusesAMissingTensor) {
  for (const char* family : {"llama", "mistral", "qwen2", "qwen3"}) {
    use(family);
    const std::vector<TestTensor> all = tensors_;
    for (const TestTensor& t : all) {
      tensors_ = all;
      remove(t.name);
      if (t.name == "model.embed_tokens.weight") continue;
      EXPECT_TRUE(
          fails_with(match(), {"model.safetensors", "tensor '" + t.name + "' is missing", shape_text(t.shape)}));
    }
  }
}

TEST_F(WeightsTest, HintsAtTyingWhenTheHeadIsMissing) {
  use("llama");
  remove("lm_head.weight");
  EXPECT_TRUE(fails_with(match(), {"'lm_head.weight' is missing", "tie_word_embeddings"}));
}

TEST_F(WeightsTest, RefusesAnotherShape) {
  use("llama");
  tensor("model.embed_tokens.weight").shape = {32, 16};  // padding rows
  EXPECT_TRUE(fails_with(match(), {"'model.embed_tokens.weight'", "[32, 16]", "[20, 16]"}));
  use("llama");
  tensor("model.layers.1.mlp.down_proj.weight").shape = {24, 16};
  EXPECT_TRUE(fails_with(match(), {"'model.layers.1.mlp.down_proj.weight'", "[24, 16]", "[16, 24]"}));
}

TEST_F(WeightsTest, RefusesAnotherDtype) {
  use("llama");
  tensor("model.layers.1.mlp.up_proj.weight").dtype = "I32";
  EXPECT_TRUE(fails_with(match(), {"'model.layers.1.mlp.up_proj.weight'", "I32", "F32, F16 or BF16"}));
  use("llama");
  tensor("model.layers.1.mlp.up_proj.weight").dtype = "F16";
  EXPECT_TRUE(fails_with(match(), {"'model.layers.1.mlp.up_proj.weight'", "F16", "F32", "model.embed_tokens.weight"}));
}

TEST_F(WeightsTest, RefusesWhatItDoesNotUse) {
  use("llama");
  tensors_.push_back({"model.layers.0.self_attn.q_proj.bias", {16}});
  EXPECT_TRUE(fails_with(match(), {"'model.layers.0.self_attn.q_proj.bias'", "[16]", "attention_bias"}));
  use("mistral");
  tensors_.push_back({"model.layers.2.mlp.up_proj.weight", {24, 16}});
  tensors_.push_back({"model.vision_tower.weight", {1}});
  EXPECT_TRUE(fails_with(match(), {"'model.layers.2.mlp.up_proj.weight'", "and 1 more"}));
  use("llama");
  tensors_.push_back({"model.layers.0.self_attn.q_proj.qweight", {1}});
  EXPECT_TRUE(fails_with(match(), {"'model.layers.0.self_attn.q_proj.qweight'"}));
}

TEST_F(WeightsTest, TiedHeadMayBeStoredIfItIsTheEmbedding) {
  use("llama", {{"tie_word_embeddings", true}});
  EXPECT_TRUE(match().ok());
  tensors_.push_back({"lm_head.weight", {20, 16}});
  EXPECT_TRUE(fails_with(match(), {"'lm_head.weight'", "differs from 'model.embed_tokens.weight'"}));
  // The test data repeat after 251 bytes: move the head to an offset that is a multiple of it from the embedding.
  tensors_.insert(tensors_.end() - 1, {"x.rotary_emb.inv_freq", {0}});
  size_t offset = 0;
  for (size_t i = 0; i + 1 < tensors_.size(); ++i) {
    size_t bytes = 4;
    for (int64_t dim : tensors_[i].shape) bytes *= static_cast<size_t>(dim);
    offset += bytes;
  }
  while ((offset + 4 * static_cast<size_t>((tensors_.end() - 2)->shape[0])) % 251 != 0)
    ++(tensors_.end() - 2)->shape[0];
  auto weights = match();
  ASSERT_TRUE(weights.ok()) << weights.error().message;
  EXPECT_EQ(weights->find(WeightRole::kLmHead), nullptr);
  EXPECT_EQ(weights->ignored().size(), 2u);
}

}  // namespace
}  // namespace llmc::test
