#include "runtime/cuda/cublas.h"

#include <dlfcn.h>

#include <cstdlib>
#include <vector>

#include "kernels_templates/variant.h"

namespace llmrt {
namespace {

constexpr const char* kVersion12 = "libcublas.so.12";
constexpr const char* kVersion13 = "libcublas.so.13";

// Values of library_types.h and cublas_api.h.
constexpr int kSuccess = 0, kNoTranspose = 0, kTranspose = 1, kReal32F = 0, kReal16F = 2, kReal16BF = 14,
              kCompute32F = 68, kDefaultAlgorithm = -1;

int data_type(llm::ScalarType type) {
  switch (type) {
    case llm::ScalarType::kF16:
      return kReal16F;
    case llm::ScalarType::kBF16:
      return kReal16BF;
    case llm::ScalarType::kF32:
    case llm::ScalarType::kBF16Panels:  // these two: of x86 alone
    case llm::ScalarType::kInt8:
      break;
  }
  return kReal32F;
}

// Never closed: the library does not survive it while the driver lives.
llm::Result<void*> load_library(const CudaDeviceInfo& device) {
  // Version 13 needs a driver of its own age, and has no code for GPUs before Turing; version 12 runs on newer drivers.
  const bool newer = device.driver_version >= 13000 && device.compute_capability >= 75;
  std::vector<std::string> candidates = {newer ? kVersion13 : kVersion12, newer ? kVersion12 : kVersion13};
  const char* chosen = std::getenv("LLMRT_CUBLAS");
  if (chosen && *chosen) {
    const std::string folder = std::string(chosen) + "/";
    candidates = {chosen, folder + candidates[0], folder + candidates[1]};
  }
  std::string tried;
  for (const std::string& candidate : candidates) {
    if (void* library = dlopen(candidate.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
    const char* message = dlerror();
    tried += "; " + std::string(message ? message : candidate.c_str());
  }
  return llm::Error{
      "the plan calls cuBLAS, which is not found: install cuBLAS 12 or 13 (part of the CUDA toolkit, or the Python "
      "package nvidia-cublas), name the library or its folder in LLMRT_CUBLAS, or compile the plan with --gemm native" +
      tried};
}

}  // namespace

llm::Result<std::unique_ptr<Cublas>> Cublas::open(const CudaContextPtr& context) {
  LLM_ASSIGN(const CudaDeviceInfo device, context->info());
  LLM_ASSIGN(void* library, load_library(device));  // a second time the loader hands out the same
  std::unique_ptr<Cublas> cublas(new Cublas());
  std::string missing;
#define LLMRT_RESOLVE(name)                                                                    \
  cublas->f_.name = reinterpret_cast<decltype(cublas->f_.name)>(dlsym(library, #name)); \
  if (!cublas->f_.name) missing += std::string(missing.empty() ? "" : ", ") + #name;
  LLMRT_RESOLVE(cublasCreate_v2)
  LLMRT_RESOLVE(cublasDestroy_v2)
  LLMRT_RESOLVE(cublasSetStream_v2)
  LLMRT_RESOLVE(cublasSetWorkspace_v2)
  LLMRT_RESOLVE(cublasGemmEx)
  LLMRT_RESOLVE(cublasGetStatusString)
#undef LLMRT_RESOLVE
  if (!missing.empty()) return llm::Error{"the cuBLAS library lacks " + missing + ": install cuBLAS 12 or 13"};
  cublas->context_ = context;
  context->make_current();
  LLM_TRY(cublas->check(cublas->f_.cublasCreate_v2(&cublas->handle_), "starting cuBLAS"));
  return cublas;
}

Cublas::~Cublas() {
  if (!handle_) return;
  context_->make_current();
  f_.cublasDestroy_v2(handle_);
}

llm::Status Cublas::check(int status, const std::string& what) const {
  if (status == kSuccess) return {};
  return llm::Error{what + ": " + f_.cublasGetStatusString(status)};
}

// The library's matrices are column-major: row-major x [rows, k] is its [k, rows], w [cols, k] its [k, cols], and out
// [rows, cols] its [cols, rows] = w^T x.
llm::Status Cublas::run(CUstream stream, const ResolvedLaunch& launch) {
  const GemmCall& c = *launch.gemm;
  const int rows = static_cast<int>(c.rows), cols = static_cast<int>(c.cols), k = static_cast<int>(c.k);
  const int type = data_type(c.type);
  const float one = 1.0f, zero = 0.0f;
  const auto pointer = [&](size_t slot) { return reinterpret_cast<void*>(launch.slots[slot]); };
  LLM_TRY(check(f_.cublasSetStream_v2(handle_, stream), "choosing the stream of cuBLAS"));  // resets the workspace
  LLM_TRY(check(f_.cublasSetWorkspace_v2(handle_, pointer(3), c.workspace_bytes), "giving cuBLAS its workspace"));
  const int status =
      f_.cublasGemmEx(handle_, kTranspose, kNoTranspose, cols, rows, k, &one, pointer(1), type, k, pointer(0), type, k,
                      &zero, pointer(2), kReal32F, cols, kCompute32F, kDefaultAlgorithm);
  return check(status, "cublasGemmEx of " + std::to_string(c.rows) + " x " + std::to_string(c.cols) + " x " +
                           std::to_string(c.k));
}

llm::Status Cublas::warm_up(CUstream stream, const ResolvedLaunch& launch) {
  const GemmCall& c = *launch.gemm;
  std::string key;  // the library also chooses by alignment
  constexpr uint64_t kAlignment = 256;
  for (uint64_t n : {uint64_t{c.rows}, uint64_t{c.cols}, uint64_t{c.k}, static_cast<uint64_t>(c.type),
                     launch.slots[0] % kAlignment, launch.slots[1] % kAlignment, launch.slots[2] % kAlignment})
    key += std::to_string(n) + " ";
  if (!warm_.insert(key).second) return {};
  return run(stream, launch);
}

}  // namespace llmrt
