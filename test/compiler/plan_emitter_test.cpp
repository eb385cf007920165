// The emitter on programs that name what is not there: an error, and no plan.
#include "compiler/plan_emitter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "compiler/frontend/model_config.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"
#include "tools/model_folder_writer.h"

namespace llmc {
namespace {

using testing::HasSubstr;

class PlanEmitterTest : public testing::Test {
 protected:
  PlanEmitterTest() {
    std::string name = testing::TempDir() + "llmc-emit-XXXXXX";
    folder_ = mkdtemp(name.data());
    std::filesystem::create_directory(folder_ / "out");
  }
  ~PlanEmitterTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  // Why a plan with one program of one launch on `pointer` (a line of the exec dialect that defines %p) is refused; ""
  // if it was emitted.
  std::string refusal(const std::string& pointer) {
    std::filesystem::remove(folder_ / "out" / "plan.fb");
    std::filesystem::remove_all(folder_ / "model");
    const llm::Status status = emit(pointer);
    EXPECT_EQ(std::filesystem::exists(folder_ / "out" / "plan.fb"), status.ok());
    EXPECT_TRUE(status.ok() || std::filesystem::is_empty(folder_ / "out"));
    return status ? "" : status.error().message;
  }

 private:
  llm::Status emit(const std::string& pointer) {
    std::ifstream in(std::string(LLMC_GOLDEN_CONFIGS) + "/llama2.json");
    const std::string text(std::istreambuf_iterator<char>(in), {});
    LLM_ASSIGN(const ModelConfig config, parse_model_config(text, "config.json", {}));
    const std::string model_dir = (folder_ / "model").string();
    ModelFolderOptions options;
    options.folder = model_dir, options.dtype = DType::kF32, options.seed = 1, options.shard_count = 1;
    LLM_TRY(write_model_folder(config, text, options));
    LLM_ASSIGN(const Checkpoint checkpoint, Checkpoint::open(model_dir));
    LLM_ASSIGN(const ModelWeights weights, match_weights(config, checkpoint));

    mlir::MLIRContext context;
    context.loadDialect<ops::LlmDialect, exec::ExecDialect>();
    const std::string costs = "array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>";
    auto module = mlir::parseSourceString<mlir::ModuleOp>(
        "exec.kernel @k \"k\" from \"k.h\" {family = \"k\", variant = \"k\", threads = 1 : i64, shared_bytes = 0 : "
        "i64}\n"
        "exec.program @p \"forward\" tokens 1 seqs 1 logits 1 arena 256 {\n  " +
            pointer + "\n  exec.launch @k grid [1, 1, 1] (write %p) after [] {bytes = " + costs + ", flops = " + costs +
            ", op = \"k\", layer = \"\"}\n}\n",
        &context);
    if (!module) return llm::Error{"the test's module is malformed"};

    const StepLimits limits{32, 1, 16, 16, 16};
    LLM_ASSIGN(auto emitter, PlanEmitter::create((folder_ / "out" / "plan.fb").string(), model_dir, config, checkpoint,
                                                 weights, {}, limits, false));
    CompiledTarget code;
    code.kernels.resize(1);
    code.shared_object = "code";
    LLM_ASSIGN(const Target* target, find_target("x86-64-v3", nullptr));
    LLM_TRY(emitter->add_target(*target, *module, code));
    LLM_TRY(emitter->finish());
    return {};
  }

  std::filesystem::path folder_;
};

TEST_F(PlanEmitterTest, KnownNamesAreEmitted) {
  for (const char* pointer :
       {"%p = exec.io \"counts\"", "%p = exec.state \"logits\"", "%p = exec.buffer \"b\" 256 at 0"}) {
    EXPECT_EQ(refusal(pointer), "") << pointer;
  }
}

TEST_F(PlanEmitterTest, UnknownIoField) {
  EXPECT_THAT(refusal("%p = exec.io \"count\""), HasSubstr("target x86-64-v3, program @p: the plan has no io 'count'"));
}

TEST_F(PlanEmitterTest, UnknownState) {
  EXPECT_THAT(refusal("%p = exec.state \"gemm_workspace\""),  // there only where something uses it
              HasSubstr("program @p: the plan has no state 'gemm_workspace'"));
}

TEST_F(PlanEmitterTest, UnknownSymbols) {
  EXPECT_THAT(refusal("%p = exec.weight_ptr @w"), HasSubstr("the plan has no weight 'w'"));
  EXPECT_THAT(refusal("%p = exec.constant_ptr @c"), HasSubstr("the plan has no constant 'c'"));
}

}  // namespace
}  // namespace llmc
