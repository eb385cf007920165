#include "compiler/codegen/kernel_compiler.h"

#include <atomic>
#include <cstdlib>
#include <mutex>
#include <sstream>
#include <thread>

#include "compiler/codegen/kernel_sources.h"
#include "compiler/codegen/x86_compiler.h"
#include "llvm/Config/llvm-config.h"
#include "passes/KernelTable.h"

namespace llmc {
namespace {

constexpr const char* kSupportSource = "#include \"x86/support.h\"\n";

std::string source_text(const Target& target, const KernelRequest& r) {
  const llm::Variant* variant = find_variant(target.kind, r.family, r.variant);
  std::string text = "#include \"" + r.file + "\"\nLLM_KERNEL";
  if (variant && variant->cluster > 1)
    text += "_CLUSTER(" + std::to_string(variant->cluster) + ", ";
  else
    text += variant && variant->waits_itself ? "_EARLY(" : "(";
  text += r.entry + ", ";
  if (target.kind == TargetKind::kCuda) text += std::to_string(r.threads) + ", " + std::to_string(variant ? variant->min_blocks : 0) + ", ";
  return text + args_struct(r.family) + ", " + r.instance + ")\n";
}

// All template texts of one kind of target: part of a cache key, and the headers of NVRTC.
std::string joined_headers(std::string_view folder) {
  std::string all;
  for (const EmbeddedText& s : kernel_sources()) {
    if (s.name.find('/') != std::string_view::npos && !s.name.starts_with(folder)) continue;
    all.append(s.name).append("\n").append(s.text);
  }
  return all;
}

std::vector<CudaHeader> cuda_headers() {
  std::vector<CudaHeader> headers;
  for (const EmbeddedText& s : kernel_sources())
    if (!s.name.starts_with("x86/")) headers.push_back({std::string(s.name), std::string(s.text)});
  return headers;
}

std::vector<std::string> split_flags(std::string_view flags) {
  std::vector<std::string> list;
  std::stringstream in{std::string(flags)};
  for (std::string flag; std::getline(in, flag, ',');) list.push_back(flag);
  return list;
}

// The number before `unit` in ptxas's report, as in "Used 40 registers" or "12 bytes spill stores"; -1 without.
int number_before(const std::string& log, const std::string& unit) {
  const size_t at = log.find(unit);
  if (at == std::string::npos || at == 0) return -1;
  size_t begin = at - 1;
  while (begin > 0 && std::isdigit(static_cast<unsigned char>(log[begin - 1]))) --begin;
  return std::atoi(log.c_str() + begin);
}

// Runs job(i) for i < n on `threads` threads; the error of the lowest failing job, as a serial run would give.
llm::Status parallel(size_t n, unsigned threads, const std::function<llm::Status(size_t)>& job) {
  std::vector<llm::Status> results(n);
  std::atomic<size_t> next{0};
  std::atomic<bool> failed{false};
  const auto work = [&] {
    for (size_t i; !failed && (i = next++) < n;)
      if (!(results[i] = job(i))) failed = true;
  };
  std::vector<std::thread> pool;
  for (unsigned t = 1; t < threads && t < n; ++t) pool.emplace_back(work);
  work();
  for (std::thread& t : pool) t.join();
  for (const llm::Status& result : results) LLM_TRY(result);
  return {};
}

class TargetCompiler {
 public:
  TargetCompiler(const Target& target, const CodegenOptions& options)
      : target_(target), options_(options), cache_(options.cache_folder),
        headers_(joined_headers(target.kind == TargetKind::kCuda ? "cuda/" : "x86/")) {}

  llm::Result<CompiledTarget> run(const std::vector<KernelRequest>& requests) {
    if (target_.kind == TargetKind::kCuda) {
      LLM_ASSIGN(nvrtc_, Nvrtc::load(options_.nvrtc_path, options_.exe_dir));
      cuda_headers_ = cuda_headers();
    }
    CompiledTarget result;
    result.kernels.resize(requests.size());
    std::vector<std::string> objects(requests.size() + 1);
    size_t done = 0;
    std::mutex progress_mutex;
    LLM_TRY(parallel(requests.size(), options_.jobs, [&](size_t i) -> llm::Status {
      CompiledKernel& kernel = result.kernels[i];
      kernel.source = source_text(target_, requests[i]);
      LLM_ASSIGN(KernelArtifacts artifacts, compile(requests[i], kernel.source));
      kernel.cubin = std::move(artifacts["cubin"]);
      kernel.ptx = std::move(artifacts["ptx"]);
      kernel.registers = number_before(artifacts["log"], " registers");
      kernel.spill_bytes = number_before(artifacts["log"], " bytes spill stores");
      objects[i] = std::move(artifacts["object"]);
      const std::lock_guard lock(progress_mutex);
      if (options_.progress) options_.progress(++done, requests.size(), requests[i].entry);
      return {};
    }));
    if (target_.kind == TargetKind::kX86) {
      LLM_ASSIGN(KernelArtifacts support, compile({"support", "", "support", "", "support", 1}, kSupportSource));
      objects.back() = std::move(support["object"]);
      LLM_ASSIGN(result.shared_object, link_x86(objects));
    }
    return result;
  }

 private:
  llm::Result<KernelArtifacts> compile(const KernelRequest& r, const std::string& source) {
    const std::string compiler = nvrtc_ ? "nvrtc " + nvrtc_->version() : "clang " LLVM_VERSION_STRING;
    const llm::PlanHash key = KernelCache::key(compiler, std::string(target_.arch) + " " + target_.extra_flags, source, headers_);
    if (auto hit = cache_.find(key)) return *hit;
    KernelArtifacts artifacts;
    if (nvrtc_) {
      CudaCompileRequest request{r.family + "/" + r.variant, r.instance, source, target_.arch, {"--ptxas-options=-v"}};
      LLM_ASSIGN(CudaCode code, nvrtc_->compile(request, cuda_headers_));
      artifacts = {{"cubin", std::move(code.cubin)}, {"ptx", std::move(code.ptx)}, {"log", std::move(code.log)}};
    } else {
      X86CompileRequest request{r.family + "/" + r.variant, r.instance, source, target_.arch, split_flags(target_.extra_flags)};
      LLM_ASSIGN(std::string object, compile_x86(request));
      artifacts = {{"object", std::move(object)}};
    }
    cache_.store(key, artifacts);
    return artifacts;
  }

  const Target& target_;
  const CodegenOptions& options_;
  KernelCache cache_;
  std::string headers_;
  std::vector<CudaHeader> cuda_headers_;
  std::shared_ptr<const Nvrtc> nvrtc_;
};

}  // namespace

llm::Result<CompiledTarget> compile_kernels(const Target& target, const std::vector<KernelRequest>& requests, const CodegenOptions& options) {
  return TargetCompiler(target, options).run(requests);
}

}  // namespace llmc
