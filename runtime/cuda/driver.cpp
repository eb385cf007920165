#include "runtime/cuda/driver.h"

#include <dlfcn.h>

// cuda.h turns many names into versioned ones by macro; the symbol to look up is the name after expansion.
#define LLMRT_STRING_OF(name) #name
#define LLMRT_SYMBOL(name) LLMRT_STRING_OF(name)

namespace llmrt {
namespace {

llm::Result<const Driver*> load_once() {
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    return llm::Error{
        "no CUDA driver on this machine (libcuda.so.1 is not found): install the NVIDIA driver, or use a plan with an "
        "x86-64 target"};
  }
  static Driver driver;
  std::string missing;
#define LLMRT_RESOLVE(name)                                                                  \
  driver.name = reinterpret_cast<decltype(driver.name)>(dlsym(library, LLMRT_SYMBOL(name))); \
  if (!driver.name) missing += (missing.empty() ? "" : ", ") + std::string(LLMRT_SYMBOL(name));
  LLMRT_CUDA_FUNCTIONS(LLMRT_RESOLVE)
#undef LLMRT_RESOLVE
#define LLMRT_RESOLVE_OPTIONAL(name) \
  driver.name = reinterpret_cast<decltype(driver.name)>(dlsym(library, LLMRT_SYMBOL(name)));
  LLMRT_OPTIONAL_CUDA_FUNCTIONS(LLMRT_RESOLVE_OPTIONAL)
#undef LLMRT_RESOLVE_OPTIONAL
  if (!missing.empty()) {
    return llm::Error{"the CUDA driver is too old (it lacks " + missing +
                      "): install one for CUDA 12.0 or later (525 or newer)"};
  }
  if (CUresult status = driver.cuInit(0); status != CUDA_SUCCESS) {
    return llm::Error{"the CUDA driver found no usable GPU: cuInit: " + driver.error_text(status)};
  }
  driver.cuDriverGetVersion(&driver.version);
  return &driver;
}

}  // namespace

llm::Result<const Driver*> Driver::load() {
  static const llm::Result<const Driver*> kResult = load_once();
  return kResult;
}

std::string Driver::error_text(CUresult status) const {
  const char* name = nullptr;
  const char* text = nullptr;
  cuGetErrorName(status, &name);
  cuGetErrorString(status, &text);
  return std::string(name ? name : "unknown CUDA error") + " (" + (text ? text : std::to_string(status)) + ")";
}

llm::Status Driver::check(CUresult status, const std::string& what) const {
  if (status == CUDA_SUCCESS) return {};
  return llm::Error{what + ": " + error_text(status)};
}

bool is_sticky(CUresult status) {
  switch (status) {
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_FAILED:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_DEINITIALIZED:
    case CUDA_ERROR_CONTEXT_IS_DESTROYED:
    case CUDA_ERROR_UNKNOWN:
      return true;
    default:
      return false;
  }
}

}  // namespace llmrt
