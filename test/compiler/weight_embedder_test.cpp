// `--weights embed`: the bytes in the plan are those that the layouts' definitions ask for, computed here element by
// element.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "compiler/compile_model.h"
#include "compiler/frontend/model_config.h"
#include "mlir/Pass/PassManager.h"
#include "plan/plan_reader.h"
#include "tools/model_folder_writer.h"

namespace llmc {
namespace {

namespace fb = llm::fb;

std::string read(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(in), {});
}

class WeightEmbedder : public testing::TestWithParam<const char*> {
 protected:
  static void SetUpTestSuite() { mlir::registerPassManagerCLOptions(); }

  WeightEmbedder() {
    std::string name = testing::TempDir() + "llmc-embed-XXXXXX";
    folder_ = mkdtemp(name.data());
  }
  ~WeightEmbedder() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  // A seeded model of a golden's configuration, in two shards.
  llm::Status make_model(const std::string& config_name, DType dtype) {
    const std::string text = read(std::string(LLMC_GOLDEN_CONFIGS) + "/" + config_name + ".json");
    LLM_ASSIGN(const ModelConfig config, parse_model_config(text, "config.json", {}));
    ModelFolderOptions options;
    options.folder = (folder_ / "model").string(), options.dtype = dtype, options.seed = 3, options.shard_count = 2;
    LLM_ASSIGN(const ModelFolderSummary summary, write_model_folder(config, text, options));
    return summary.tensors > 0 ? llm::Status() : llm::Error{"no tensors"};
  }

  llm::Result<std::shared_ptr<llm::PlanFile>> compile() {
    CompileOptions options;
    options.model_dir = (folder_ / "model").string(), options.output = (folder_ / "plan.fb").string(),
    options.embed_weights = true;
    options.max_batch = 1, options.max_step_tokens = 16;
    LLM_ASSIGN(const Target* target, find_target("x86-64-v3", nullptr));
    options.targets = {target};
    LLM_ASSIGN(const CompileReport report, compile_model(options));
    if (report.plan_bytes == 0) return llm::Error{"an empty plan"};
    return llm::PlanFile::open(options.output);
  }

  std::filesystem::path folder_;
};

// Where element (n, k) of a weight lies in its buffer, in elements (kernels_templates/x86/pack.h).
uint64_t element_index(const fb::WeightT& w, uint64_t n, uint64_t k, uint64_t element_bytes) {
  if (w.layout == fb::WeightLayout::rows) return n * w.cols + k;
  const uint64_t group = 4 / element_bytes, padded = (w.cols + group - 1) / group * group;
  return ((n / 16) * (padded / group) + k / group) * 16 * group + (n % 16) * group + k % group;
}

TEST_P(WeightEmbedder, BytesFollowTheLayout) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    std::filesystem::remove_all(folder_ / "model");
    const llm::Status made = make_model(GetParam(), dtype);
    ASSERT_TRUE(made) << made.error().message;
    const auto plan = compile();
    ASSERT_TRUE(plan) << plan.error().message;
    const fb::PlanT& index = (*plan)->index();
    const uint64_t element = dtype == DType::kF32 ? 4 : 2;
    size_t merged = 0, packed = 0;
    for (const auto& w : index.targets[0]->weights) {
      ASSERT_GE(w->segment, 0) << w->name;
      merged += w->parts.size() > 1, packed += w->layout == fb::WeightLayout::interleaved16;
      std::string expected(w->bytes, '\0');
      for (const fb::WeightPart& p : w->parts) {
        const fb::SourceTensorT& t = *index.tensors[p.tensor()];
        const std::string file = read(folder_ / "model" / index.files[t.file]->name);
        for (uint64_t row = p.row_begin(); row < p.row_end(); ++row)
          for (uint64_t col = p.col_begin(); col < p.col_end(); ++col)
            std::memcpy(
                expected.data() +
                    element_index(*w, p.dst_row() + row - p.row_begin(), col - p.col_begin(), element) * element,
                file.data() + t.offset + (row * t.cols + col) * element, element);
      }
      const auto bytes = (*plan)->read(static_cast<uint32_t>(w->segment));
      ASSERT_TRUE(bytes) << bytes.error().message;
      ASSERT_EQ(bytes->size(), w->bytes);
      EXPECT_EQ(std::memcmp(bytes->data(), expected.data(), expected.size()), 0) << w->name;
    }
    EXPECT_GT(merged, 0u);
    EXPECT_GT(packed, 0u);
  }
}

// Biases and an own head; per-head norms; head_dim that is no divisor of the hidden size.
INSTANTIATE_TEST_SUITE_P(Models, WeightEmbedder, testing::Values("llama_bias", "qwen3", "mistral_head_dim"),
                         [](const auto& info) { return std::string(info.param); });

TEST_F(WeightEmbedder, TargetsShareTheirSegments) {
  const llm::Status made = make_model("qwen2", DType::kBF16);
  ASSERT_TRUE(made) << made.error().message;
  CompileOptions options;
  options.model_dir = (folder_ / "model").string(), options.output = (folder_ / "plan.fb").string(),
  options.embed_weights = true;
  options.max_batch = 1, options.max_step_tokens = 16;
  options.targets = {*find_target("x86-64-v3", nullptr), *find_target("x86-64-v4", nullptr)};
  const auto report = compile_model(options);
  ASSERT_TRUE(report) << report.error().message;
  const auto plan = llm::PlanFile::open(options.output);
  ASSERT_TRUE(plan) << plan.error().message;
  const auto& a = (*plan)->index().targets[0]->weights;
  const auto& b = (*plan)->index().targets[1]->weights;
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i]->segment, b[i]->segment) << a[i]->name;
}

}  // namespace
}  // namespace llmc
