// Teacher-forced logits of compiled plans against the goldens of test/goldens: mean KL against float64 below the
// threshold of the plan's number class, the same most likely id outside of near-ties. Links no compiler, so that it
// also runs on a GPU machine:
//   golden_test --plans DIR --models DIR --goldens DIR [--target sm_75 --ptx] [--kv f32 --activations f32] [--chunks
//   0,16,7,1]
#include "test/runtime/golden.h"

#include <CLI/CLI.hpp>
#include <cstdio>

#include "plan/plan_reader.h"
#include "test/runtime/number_class.h"
#include "test/runtime/test_engine.h"

namespace llmrt_test {
namespace {

constexpr int kSkipped = 77;  // ctest's SKIP_RETURN_CODE

struct Options {
  std::string plans, models, goldens, number_class = "auto", kv = "auto", activations = "auto";
  std::vector<std::string> only;
  std::vector<size_t> chunks = {0, 16, 7, 1};
  bool skip_missing = false;
  EngineSpec engine;
};

struct Count {
  int passed = 0, failed = 0;
};

void row(Count& count, const Golden& g, NumberClass c, size_t chunk, const Comparison& result, double threshold) {
  const bool pass = result.mean_kl <= threshold && result.wrong_top1 == 0;
  ++(pass ? count.passed : count.failed);
  const size_t decided = result.rows - result.near_ties;
  std::printf("%-20s %-9s %-15s %6s  %8.1e %8.1e %8.1e  %4zu/%-4zu %s\n", g.name.c_str(), g.dtype.c_str(),
              class_name(c), chunk ? std::to_string(chunk).c_str() : "whole", result.mean_kl, result.max_kl, threshold,
              decided - result.wrong_top1, decided, pass ? "pass" : "FAIL");
  std::fflush(stdout);
}

llm::Status test_model(const Options& o, const std::string& name, Count& count) {
  LLM_ASSIGN(const Golden golden, read_golden(o.goldens, name));
  EngineSpec spec = o.engine;
  spec.plan = o.plans + "/" + name + ".fb";
  spec.model_dir = o.models + "/" + name;
  LLM_ASSIGN(const auto engine, TestEngine::open(spec));
  if (engine->info().vocab != golden.vocab) return llm::Error{"the plan's vocabulary is not the golden's"};
  const CompiledFor compiled{engine->info().target, o.activations == "f32", o.kv == "f32"};
  const NumberClass c = class_of_name(o.number_class).value_or(expected_class(golden.dtype, compiled));
  const double threshold = kl_threshold(c, golden);
  for (size_t chunk : o.chunks) {
    LLM_ASSIGN(const std::vector<float> logits, engine->score(golden.ids, chunk));
    row(count, golden, c, chunk, compare(golden.logits, logits, golden.vocab, near_tie(threshold)), threshold);
  }
  return {};
}

// Whether the first plan was compiled for the target: test plans hold the targets of the machine that made them.
bool has_target(const Options& o, const std::string& name) {
  const auto plan = llm::PlanFile::open(o.plans + "/" + name + ".fb");
  if (!plan) return true;  // opening it again will say why
  for (const auto& t : (*plan)->index().targets)
    if (t->name == o.engine.target) return true;
  return false;
}

int run(Options& o) {
  auto names = o.only.empty() ? list_goldens(o.goldens) : llm::Result<std::vector<std::string>>(o.only);
  if (!names) {
    std::fprintf(stderr, "golden_test: error: %s\n", names.error().message.c_str());
    return 1;
  }
  if (o.skip_missing && !o.engine.target.empty() && !has_target(o, names->front())) {
    std::printf("skipped: the plans are not for %s, which this machine does not run\n", o.engine.target.c_str());
    return kSkipped;
  }
  Count count;
  std::printf("%-20s %-9s %-15s %6s  %8s %8s %8s  %9s\n", "model", "weights", "class", "chunk", "mean KL", "max KL",
              "allowed", "top-1");
  for (const std::string& name : *names) {
    const llm::Status status = test_model(o, name, count);
    if (status.ok()) continue;
    ++count.failed;
    std::printf("%-20s FAIL: %s\n", name.c_str(), status.error().message.c_str());
  }
  std::printf("%d passed, %d failed\n", count.passed, count.failed);
  return count.failed == 0 && count.passed > 0 ? 0 : 1;
}

}  // namespace
}  // namespace llmrt_test

int main(int argc, char** argv) {
  llmrt_test::Options o;
  CLI::App app{"Compares the logits of plans with goldens"};
  app.add_option("--plans", o.plans, "Folder of NAME.fb")->required();
  app.add_option("--models", o.models, "Folder of the model folders NAME")->required();
  app.add_option("--goldens", o.goldens, "Folder of NAME.json and NAME.npy")->required();
  app.add_option("--only", o.only, "Names to test (default: all goldens)")->delimiter(',');
  app.add_option("--chunks", o.chunks, "Tokens per step; 0: the plan's longest, 1: decode steps")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--class", o.number_class, "What is demanded (auto: by target, weights, --kv and --activations)")
      ->check(CLI::IsMember({"auto", "f32", "narrow-weights", "f16", "bf16", "rounded-inputs", "int8-kv"}));
  app.add_option("--kv", o.kv, "--kv-dtype that the plans were compiled with")->check(CLI::IsMember({"auto", "f32"}));
  app.add_option("--activations", o.activations, "--activations that the plans were compiled with")
      ->check(CLI::IsMember({"auto", "f32"}));
  app.add_option("--device", o.engine.device, "auto, cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--target", o.engine.target, "Target of the plans (default: the best that runs)");
  app.add_flag("--ptx", o.engine.force_ptx, "CUDA: run the target's PTX");
  app.add_flag("--skip-missing", o.skip_missing, "Exit with 77 if the plans lack the target");
  app.add_option("--threads", o.engine.threads, "CPU threads");
  CLI11_PARSE(app, argc, argv);
  return llmrt_test::run(o);
}
