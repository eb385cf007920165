// The kernel tests on the emulator: every variant, on a machine without a GPU.
//
//   emulator_test [--filter TEXT] [--seed N] [--instances N/M]
//
// --instances 0/4 runs every fourth instance from the first, so that several processes share the work.
#include <cstdio>
#include <cstring>
#include <string>

#include "test/gpu/emulator/fibers.h"
#include "test/gpu/gpu_harness.h"

int main(int argc, char** argv) {
  using namespace llm_test;
  std::string filter;
  uint64_t seed = 1;
  unsigned first = 0, every = 1, number = 0;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--filter") == 0) filter = argv[i + 1];
    if (std::strcmp(argv[i], "--seed") == 0) seed = std::stoull(argv[i + 1]);
    if (std::strcmp(argv[i], "--instances") == 0 &&
        (std::sscanf(argv[i + 1], "%u/%u", &first, &every) != 2 || first >= every)) {
      std::fprintf(stderr, "--instances '%s' is not N/M with N below M\n", argv[i + 1]);
      return 2;
    }
  }
  const Gpu gpu = Gpu::open();
  int passed = 0, failed = 0;
  for (const KernelInstance& instance : all_instances()) {
    const std::string entry = instance.entry();
    if (!find_emulated(entry) || !instance.is_tested_alone() || entry.find(filter) == std::string::npos) continue;
    if (number++ % every != first) continue;
    Kernel kernel;
    kernel.gpu = &gpu;
    kernel.instance = &instance;
    gpu.check(gpu.driver->cuModuleGetFunction(&kernel.function, nullptr, entry.c_str()), entry.c_str());
    std::printf("%-58s ", entry.c_str());
    std::fflush(stdout);  // the emulator ends the program at the first access that it rejects
    Rng rng(seed);
    const Outcome outcome = test_kernel(kernel, rng, /*timing=*/false);
    (outcome.failure.empty() ? passed : failed) += 1;
    std::printf("%s error/limit %.3f %s\n", outcome.failure.empty() ? "ok    " : "FAILED", outcome.worst,
                outcome.failure.c_str());
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}
