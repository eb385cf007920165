// Flags of the command line that compile and tune share: what decides the programs of a plan, and how their kernels are compiled.
#pragma once

#include <CLI/CLI.hpp>

#include "compiler/compile_model.h"

namespace llmc {

class CompileFlags {
 public:
  void add(CLI::App& command, CompileOptions& options);
  // Behind parsing: what the flags left open.
  void complete(CompileOptions& options) const;

 private:
  bool no_cache_ = false;
};

}  // namespace llmc
