// `llmc tune`: measures kernel variants on the machine at hand. docs/decisions/011-tuning.md says how and why.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "compiler/compile_model.h"
#include "compiler/tune/measure_rows.h"

namespace llmc {

struct TuneOptions {
  CompileOptions compile;               // what decides the shapes and how kernels are compiled; one target; model_dir, output and tuning are not used
  std::vector<std::string> model_dirs;  // their weights are not read: headers suffice
  std::set<std::string> families;       // those to measure; empty: all
  MeasuringOptions measuring;
  std::string plans_dir;                // not "": measures nothing, but leaves plans and what to measure of them there, for llm-measure-kernels
  std::function<void(const std::string& line)> progress;  // may be empty
};

struct TuneReport {
  size_t shapes = 0;
  Tuning tuning;
  std::vector<std::string> warnings;
};

// Every variant that can run, but for those that the cost model sees far behind, for every shape of the models' forward programs where there is
// more than one. Errors: the device is not the target's own (a fallback would be measured), the model does not fit on it.
llm::Result<TuneReport> tune(const TuneOptions& options);

}  // namespace llmc
