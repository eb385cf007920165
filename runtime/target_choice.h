// Which target variant of a plan runs on which device.
#pragma once

#include <memory>
#include <string>

#include "plan/plan_reader.h"
#include "runtime/device.h"

namespace llmrt {

struct DeviceOptions {
  std::string device = "auto";  // auto (a CUDA device if the plan has code for it, else the CPU), cpu, cuda, cuda:N
  std::string target;           // force this target of the plan; "" for the best that runs
  bool force_ptx = false;       // CUDA: run the target's PTX even where its exact code would run
  int threads = 0;              // CPU: 0 for all cores
  bool separate_allocations = false;  // debugging: one allocation per buffer, so that sanitizers see overruns
};

struct ChosenTarget {
  std::unique_ptr<Device> device;
  const llm::fb::TargetT* target = nullptr;
  CodeForm form = CodeForm::kExact;
  std::string note;  // for the user: a fallback is in use; "" otherwise
};

// The target that suits the device best, or null: the newest compute capability that it reaches, the x86 target with most of its features.
const llm::fb::TargetT* best_target(const llm::fb::PlanT& plan, const DeviceInfo& device);

// What a target needs and the device lacks: "AMX bf16"; empty where it runs.
std::string missing_features(const llm::fb::TargetT& target, const DeviceInfo& device);

// Errors name the plan's targets, the device found, and the `llmc compile` line that fixes it.
llm::Result<ChosenTarget> choose_target(const llm::PlanFile& plan, const DeviceOptions& options);

}  // namespace llmrt
