#include <gtest/gtest.h>

#include <CLI/CLI.hpp>

#include "test/runtime/engine_options.h"

namespace llmrt_test {

EngineSpec& engine_options() {
  static EngineSpec spec;
  return spec;
}

std::unique_ptr<llmrt::Engine> load_engine(uint64_t kv_limit, bool no_advance) {
  const EngineSpec& spec = engine_options();
  auto plan = llm::PlanFile::open(spec.plan);
  if (!plan) {
    ADD_FAILURE() << plan.error().message;
    return nullptr;
  }
  llmrt::EngineOptions options;
  options.device = {spec.device, spec.target, spec.force_ptx, spec.threads, false};
  options.model_dir = spec.model_dir;
  options.kv_limit = kv_limit;
  options.no_advance = no_advance;
  auto engine = llmrt::Engine::load(std::move(*plan), options);
  if (engine) return std::move(*engine);
  ADD_FAILURE() << engine.error().message;
  return nullptr;
}

}  // namespace llmrt_test

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  auto& spec = llmrt_test::engine_options();
  CLI::App app{"Tests of the runtime on one plan"};
  app.add_option("--plan", spec.plan, "Plan of a small model")->required();
  app.add_option("--model-dir", spec.model_dir, "Its model folder")->required();
  app.add_option("--device", spec.device, "auto, cpu, cuda or cuda:N")->capture_default_str();
  app.add_option("--target", spec.target, "Target of the plan (default: the best that runs)");
  app.add_flag("--ptx", spec.force_ptx, "CUDA: run the target's PTX");
  app.add_option("--threads", spec.threads, "CPU threads");
  CLI11_PARSE(app, argc, argv);
  return RUN_ALL_TESTS();
}
