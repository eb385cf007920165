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

// Errors name the plan's targets, the device found, and the `llmc compile` line that fixes it.
llm::Result<ChosenTarget> choose_target(const llm::PlanFile& plan, const DeviceOptions& options);

}  // namespace llmrt
