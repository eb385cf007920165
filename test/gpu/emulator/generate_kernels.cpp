// Writes C++ sources that hold a choice of the kernel instances, to be compiled for the emulator.
//
//   generate_kernels PARTS PREFIX                        ->  PREFIX0.cpp ... PREFIX<PARTS-1>.cpp
//   generate_kernels PARTS PREFIX WEIGHT OPERAND KV DIM
//
// Of each variant the first, the middle and the last instance: between them all types and the extreme head dimensions;
// or every variant for one model: its weight, operand and KV type and its head dimension ("bf16 float bf16 32").
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <string>

#include "test/gpu/kernel_instances.h"

namespace {

using llm_test::KernelInstance;

std::vector<KernelInstance> extremes(const std::vector<KernelInstance>& all) {
  std::map<const llm::Variant*, std::vector<KernelInstance>> by_variant;
  for (const KernelInstance& instance : all) by_variant[instance.variant].push_back(instance);
  std::vector<KernelInstance> chosen;
  for (const auto& [variant, instances] : by_variant) {
    for (size_t i : std::set<size_t>{0, instances.size() / 2, instances.size() - 1}) chosen.push_back(instances[i]);
  }
  return chosen;
}

std::vector<KernelInstance> of_model(const std::vector<KernelInstance>& all, const std::string& weight,
                                     const std::string& operand, const std::string& kv, int head_dim) {
  std::vector<KernelInstance> chosen;
  for (const KernelInstance& k : all) {
    // Without per-head norms the type of their weights is float.
    const bool no_norms = std::string(k.variant->family) == "rope_kv_write" && k.weight == llm::ScalarType::kF32;
    // The scales of quantized weights may be float, whatever the type of the others.
    const bool scales =
        (k.variant->code_types || std::string(k.variant->family) == "repack") && k.weight == llm::ScalarType::kF32;
    if ((!k.variant->weight_types || weight == llm_test::type_name(k.weight) || no_norms || scales) &&
        (!k.variant->operand_types || operand == llm_test::type_name(k.operand)) &&
        (!k.variant->kv_types || kv == llm_test::type_name(k.kv)) && (k.head_dim == 0 || k.head_dim == head_dim)) {
      chosen.push_back(k);
    }
  }
  return chosen;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 && argc != 7) return 2;
  auto all = llm_test::all_instances();
  const auto chosen = argc == 3 ? extremes(all) : of_model(all, argv[3], argv[4], argv[5], std::atoi(argv[6]));
  std::vector<std::ofstream> files;
  for (int p = 0; p < std::atoi(argv[1]); ++p) files.emplace_back(argv[2] + std::to_string(p) + ".cpp");
  for (size_t i = 0; i < chosen.size(); ++i) files[i % files.size()] << chosen[i].source();
  return 0;
}
