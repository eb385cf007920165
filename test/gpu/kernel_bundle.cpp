// Compiles every CUDA kernel instance for the given architectures and writes cubin and PTX to one file, for kernel_test
// on a machine that cannot compile them (NVRTC 12.9 is needed for the old ones).
//
//   kernel_bundle --kernels DIR --arch sm_61,sm_90a [--filter TEXT] [--define NAME] [-o FILE] [--verbose]
//
// Prints registers, spills and compile time of each instance with --verbose, and always those with spills or with
// serialized wgmma. The file:
// records of "arch entry cubin_bytes ptx_bytes\n", cubin, PTX. A real architecture that the test machine is not needs
// its PTX only: the cubin is kept for sm_90a.
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <sstream>

#include "compiler/codegen/nvrtc.h"
#include "test/gpu/kernel_instances.h"

namespace {

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<llmc::CudaHeader> read_headers(const std::filesystem::path& root) {
  std::vector<llmc::CudaHeader> headers;
  for (const char* shared : {"abi.h", "quantized_weights.h", "quantize_group.h"}) headers.push_back({shared, read_text(root / shared)});
  for (const auto& entry : std::filesystem::directory_iterator(root / "cuda")) {
    if (entry.path().extension() == ".h") {
      headers.push_back({"cuda/" + entry.path().filename().string(), read_text(entry.path())});
    }
  }
  return headers;
}

int number_before(const std::string& log, const char* words) {
  std::smatch match;
  return std::regex_search(log, match, std::regex(std::string("(\\d+) ") + words)) ? std::stoi(match[1]) : 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::map<std::string, std::string> options;
  bool verbose = false;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--verbose") == 0) {
      verbose = true;
    } else if (i + 1 < argc) {
      options[argv[i]] = argv[i + 1];
      ++i;
    }
  }
  if (!options.count("--kernels") || !options.count("--arch")) {
    std::fprintf(stderr, "usage: kernel_bundle --kernels DIR --arch LIST [--filter TEXT] [--define NAME] [-o FILE] [--verbose]\n");
    return 2;
  }
  const auto nvrtc = llmc::Nvrtc::load("", std::filesystem::path(argv[0]).parent_path().string());
  if (!nvrtc) {
    std::fprintf(stderr, "kernel_bundle: error: %s\n", nvrtc.error().message.c_str());
    return 1;
  }
  const auto headers = read_headers(options["--kernels"]);
  std::ofstream out;
  if (options.count("-o")) out.open(options["-o"], std::ios::binary);

  std::vector<std::string> flags = {"--ptxas-options=-v"};
  if (options.count("--define")) flags.push_back("-D" + options["--define"]);
  int compiled = 0, failed = 0, spilled = 0;
  double total_ms = 0, worst_ms = 0;
  std::istringstream archs(options["--arch"]);
  for (std::string arch_name; std::getline(archs, arch_name, ',');) {
    uint32_t features = 0;
    for (const llm_test::TestArch& arch : llm_test::test_archs()) {
      if (arch_name == arch.name) features = arch.features;
    }
    for (const llm_test::KernelInstance& instance : llm_test::all_instances()) {
      if (instance.variant->needs & ~features) continue;
      if (options.count("--filter") && instance.entry().find(options["--filter"]) == std::string::npos) continue;
      const auto start = std::chrono::steady_clock::now();
      const auto code = (*nvrtc)->compile(
          {instance.entry(), instance.instantiation(), instance.source(), arch_name, flags}, headers);
      const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
      if (!code) {
        std::printf("FAILED %s\n", code.error().message.c_str());
        ++failed;
        continue;
      }
      ++compiled;
      total_ms += ms;
      worst_ms = std::max(worst_ms, ms);
      const int spills = number_before(code->log, "bytes spill stores");
      const int stack = number_before(code->log, "bytes stack frame");
      spilled += spills > 0;
      if (verbose || spills > 0 || stack > 0) {
        std::printf("%-7s %-60s %3d registers, %4d spill, %4d stack, %5.0f ms, ptx %zu, cubin %zu\n", arch_name.c_str(),
                    instance.entry().c_str(), number_before(code->log, "registers"), spills, stack, ms,
                    code->ptx.size(), code->cubin.size());
        std::fflush(stdout);
      }
      // Asynchronous products that the assembler makes wait for each other.
      if (const size_t serialized = code->log.find("(C75"); serialized != std::string::npos) {
        const size_t begin = code->log.rfind('\n', serialized) + 1;
        std::printf("%s\n", code->log.substr(begin, code->log.find('\n', serialized) - begin).c_str());
      }
      if (out) {
        const bool keep_cubin = arch_name == "sm_90a";
        const std::string& cubin = keep_cubin ? code->cubin : std::string();
        const std::string& ptx = keep_cubin ? std::string() : code->ptx;
        out << arch_name << ' ' << instance.entry() << ' ' << cubin.size() << ' ' << ptx.size() << '\n' << cubin << ptx;
      }
    }
  }
  std::printf("%d compiled, %d failed, %d with spills; %.0f ms a kernel, worst %.0f ms\n", compiled, failed, spilled,
              compiled ? total_ms / compiled : 0.0, worst_ms);
  return failed == 0 ? 0 : 1;
}
