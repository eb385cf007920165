// `--dump DIR`: the module after every pass, as numbered files.
#pragma once

#include <string>

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/PassManager.h"
#include "plan/result.h"

namespace llmc {

// Writes DIR/00-import.mlir now, and DIR/NN-pass.mlir after each pass. Needs a context without multithreading.
llm::Status dump_phases(mlir::PassManager& pm, mlir::ModuleOp module, const std::string& dir);

}  // namespace llmc
