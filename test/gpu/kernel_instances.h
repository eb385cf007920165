// Every instance of every CUDA variant: variants x the codes and types that they serve x head dimensions.
#pragma once

#include <string>
#include <vector>

#include "kernels_templates/variant.h"

namespace llm_test {

struct KernelInstance {
  const llm::Variant* variant = nullptr;
  llm::ScalarType weight = llm::ScalarType::kF32, operand = llm::ScalarType::kF32, kv = llm::ScalarType::kF32;
  int head_dim = 0;  // 0: any
  llm::CodeType code = llm::CodeType::kU4;

  std::string entry() const;          // "linear_gemv_r4__w_bf16__x_float"
  std::string instantiation() const;  // "linear_gemv<bf16, float, 4>"
  std::string source() const;         // what NVRTC compiles
  // False for a persistent kernel, which needs a program: emulator/compare_persistent.py tests it as a whole.
  bool is_tested_alone() const { return std::string(variant->family) != "persistent"; }
};

const char* type_name(llm::ScalarType type);
const char* code_name(llm::CodeType code);

const std::vector<llm::Variant>& cuda_variants();

// All of them, oldest variant first within a family; `variants` must outlive them.
std::vector<KernelInstance> all_instances(const std::vector<llm::Variant>& variants = cuda_variants());

// The architectures that the kernels are compiled for, with their features.
struct TestArch {
  const char* name;  // what NVRTC is told: "sm_90a"
  uint32_t features;
};
const std::vector<TestArch>& test_archs();

}  // namespace llm_test
