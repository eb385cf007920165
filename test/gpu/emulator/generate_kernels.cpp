// Writes C++ sources that hold a choice of the kernel instances, to be compiled for the emulator.
//
//   generate_kernels PARTS PREFIX     ->  PREFIX0.cpp ... PREFIX<PARTS-1>.cpp
//
// Of each variant the first, the middle and the last instance: between them all types and the extreme head dimensions.
#include <cstdlib>
#include <fstream>
#include <map>
#include <set>
#include <string>

#include "test/gpu/kernel_instances.h"

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const int parts = std::atoi(argv[1]);
  std::map<const llm::Variant*, std::vector<llm_test::KernelInstance>> by_variant;
  for (const llm_test::KernelInstance& instance : llm_test::all_instances()) by_variant[instance.variant].push_back(instance);
  std::vector<std::ofstream> files;
  for (int p = 0; p < parts; ++p) files.emplace_back(argv[2] + std::to_string(p) + ".cpp");
  size_t next = 0;
  for (const auto& [variant, instances] : by_variant) {
    std::set<std::string> done;
    for (size_t i : {size_t{0}, instances.size() / 2, instances.size() - 1}) {
      if (done.insert(instances[i].entry()).second) files[next++ % files.size()] << instances[i].source();
    }
  }
  return 0;
}
