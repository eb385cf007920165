// What select-kernels chose, for those who measure the choices.
#pragma once

#include <string>
#include <vector>

#include "mlir/Pass/PassManager.h"
#include "passes/KernelShapes.h"

namespace llmc {

struct ChosenKernel {
  KernelShape shape;
  std::string variant;
};

// One bucket's @forward or @sample, its operations in the order of their launches.
struct ChosenProgram {
  Bucket bucket;
  bool sample = false;
  std::vector<ChosenKernel> kernels;
};

// `programs` is filled when the passes run and must outlive them.
void record_choices(mlir::PassManager& pm, std::vector<ChosenProgram>& programs);

}  // namespace llmc
