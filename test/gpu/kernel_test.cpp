// Differential test of the CUDA kernels on a GPU: every instance of a bundle (see kernel_bundle.cpp) against float64.
//
//   kernel_test --bundle FILE --arch sm_61 [--filter TEXT] [--seed N] [--no-timing] [--instances N/M] [--verbose]
//
// One line an instance: the largest error as a share of its limit, and for a large shape the time and the rate.
// --instances 0/4 runs every fourth instance from the first: several processes can share a bundle. Exit status 1 when
// an instance failed.
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>

#include "test/gpu/gpu_harness.h"

namespace {

using namespace llm_test;

// The bundle's code for one architecture, by entry name.
std::map<std::string, std::string> read_bundle(const std::string& path, const std::string& arch) {
  std::ifstream file(path, std::ios::binary);
  if (!file) fail("cannot read " + path);
  std::map<std::string, std::string> code;
  for (std::string line; std::getline(file, line);) {
    std::istringstream record(line);
    std::string record_arch, entry;
    size_t cubin_bytes = 0, ptx_bytes = 0;
    record >> record_arch >> entry >> cubin_bytes >> ptx_bytes;
    std::string bytes(cubin_bytes + ptx_bytes, '\0');
    file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    if (record_arch == arch) code[entry] = bytes;
  }
  if (code.empty()) fail(path + " has no code for " + arch);
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  std::map<std::string, std::string> options;
  bool timing = true, verbose = false;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--no-timing") == 0) {
      timing = false;
    } else if (std::strcmp(argv[i], "--verbose") == 0) {
      verbose = true;
    } else if (i + 1 < argc) {
      options[argv[i]] = argv[i + 1];
      ++i;
    }
  }
  if (!options.count("--bundle") || !options.count("--arch")) {
    std::fprintf(
        stderr,
        "usage: kernel_test --bundle FILE --arch NAME [--filter TEXT] [--seed N] [--no-timing] [--instances N/M] "
        "[--verbose]\n");
    return 2;
  }
  const uint64_t seed = options.count("--seed") ? std::stoull(options["--seed"]) : std::random_device()();
  unsigned first = 0, every = 1;
  if (options.count("--instances")) std::sscanf(options["--instances"].c_str(), "%u/%u", &first, &every);
  const auto code = read_bundle(options["--bundle"], options["--arch"]);
  Gpu gpu = Gpu::open();
  gpu.verbose = verbose;
  std::printf("%s (sm_%d), code for %s, seed %llu\n", gpu.name.c_str(), gpu.cc, options["--arch"].c_str(),
              static_cast<unsigned long long>(seed));

  int passed = 0, failed = 0;
  unsigned number = 0;
  for (const KernelInstance& instance : all_instances()) {
    const std::string entry = instance.entry();
    const auto found = code.find(entry);
    if (found == code.end() || !instance.is_tested_alone() || (options.count("--filter") && entry.find(options["--filter"]) == std::string::npos))
      continue;
    if (number++ % every != first) continue;
    Kernel kernel;
    kernel.gpu = &gpu;
    kernel.instance = &instance;
    const auto start = std::chrono::steady_clock::now();
    gpu.check(gpu.driver->cuModuleLoadDataEx(&kernel.module, found->second.c_str(), 0, nullptr, nullptr),
              entry.c_str());
    gpu.check(gpu.driver->cuModuleGetFunction(&kernel.function, kernel.module, entry.c_str()), entry.c_str());
    if (instance.variant->shared_bytes > 48 * 1024) {
      gpu.check(gpu.driver->cuFuncSetAttribute(kernel.function, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                                               instance.variant->shared_bytes),
                entry.c_str());
    }
    const double load_ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    Rng rng(seed ^ std::hash<std::string>()(entry));
    const Outcome outcome = test_kernel(kernel, rng, timing);
    (outcome.failure.empty() ? passed : failed) += 1;
    std::printf("%-6s %-58s error/limit %.3f", outcome.failure.empty() ? "ok" : "FAILED", entry.c_str(), outcome.worst);
    if (outcome.us > 0) std::printf("  %9.1f us  %s", outcome.us, outcome.rate.c_str());
    std::printf("  (load %.0f ms)%s%s\n", load_ms, outcome.failure.empty() ? "" : "  ", outcome.failure.c_str());
    std::fflush(stdout);
    gpu.driver->cuModuleUnload(kernel.module);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}
