// The command line of `llmc tune`.
#pragma once

#include <CLI/CLI.hpp>

#include "compiler/compile_flags.h"
#include "compiler/tune/tune.h"

namespace llmc {

class TuneCommand {
 public:
  void add(CLI::App& app);
  // `out` is for standard output; warnings and progress go to standard error.
  llm::Status run(std::string& out);

 private:
  llm::Status measure(std::string& out);

  TuneOptions options_;
  CompileFlags flags_;
  std::string target_, output_;
  std::vector<std::string> families_, paths_;  // paths: model folders, or files to check
  bool check_ = false, json_ = false;
};

}  // namespace llmc
