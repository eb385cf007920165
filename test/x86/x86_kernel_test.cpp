// Every x86 kernel variant in every storage type against float64, on this processor.
//
//   x86_kernel_test --target x86-64-v4 [--cache DIR] [--filter TEXT] [--seed N]
//
// Exit status 77 if this machine lacks the target's instructions.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "plan/cpu_features.h"
#include "test/x86/loaded_kernels.h"
#include "test/x86/x86_shapes.h"

namespace {

using namespace llm_test;

constexpr int kSkipped = 77;  // ctest's SKIP_RETURN_CODE

std::vector<KernelInstance> instances_for(const llmc::Target& target, const std::string& filter) {
  std::vector<KernelInstance> chosen;
  for (const KernelInstance& k : all_instances(x86_variants())) {
    if ((k.variant->needs & ~target.features) == 0 && k.entry().find(filter) != std::string::npos) chosen.push_back(k);
  }
  return chosen;
}

}  // namespace

int main(int argc, char** argv) {
  std::string target_name, filter;
  uint64_t seed = 1;
  llmc::CodegenOptions options;
  options.jobs = 2;
  CLI::App app{"Compares the x86 kernels with float64"};
  app.add_option("--target", target_name, "An x86 target of llmc")->required();
  app.add_option("--cache", options.cache_folder, "Kernel cache folder");
  app.add_option("--filter", filter, "Only kernels whose entry name contains this");
  app.add_option("--seed", seed, "Of the random inputs");
  CLI11_PARSE(app, argc, argv);
  const auto target = llmc::find_target(target_name, nullptr);
  if (!target) fail(target.error().message);
  const uint32_t missing = (*target)->features & ~llm::cpu_features();
  if (missing) {
    std::printf("skipped: %s needs %s, which this machine lacks\n", target_name.c_str(),
                llmc::feature_names(missing).c_str());
    return kSkipped;
  }
  if ((*target)->features & (llm::kAmxBf16 | llm::kAmxInt8)) llm::request_amx_permission();

  const std::vector<KernelInstance> instances = instances_for(**target, filter);
  const auto status = load_x86_kernels(**target, instances, options);
  if (!status) fail(status.error().message);
  const Gpu host = Gpu::open();
  int passed = 0, failed = 0;
  for (const KernelInstance& instance : instances) {
    Kernel kernel;
    kernel.gpu = &host;
    kernel.instance = &instance;
    host.check(host.driver->cuModuleGetFunction(&kernel.function, nullptr, instance.entry().c_str()),
               instance.entry().c_str());
    Rng rng(seed);
    const Outcome outcome = test_x86_kernel(kernel, rng);
    (outcome.failure.empty() ? passed : failed) += 1;
    std::printf("%-50s %s error/limit %.3f %s\n", instance.entry().c_str(),
                outcome.failure.empty() ? "ok    " : "FAILED", outcome.worst, outcome.failure.c_str());
    std::fflush(stdout);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}
