// A CUDA driver of host memory and emulated launches, in the place of runtime/cuda/driver.cpp: the kernel tests run on it unchanged.
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include "runtime/cuda/driver.h"
#include "test/gpu/emulator/fibers.h"

namespace llmrt {
namespace {

template <typename Handle>
Handle some_handle() {
  static int object;
  return reinterpret_cast<Handle>(&object);
}

CUresult allocate(CUdeviceptr* p, size_t bytes) {
  *p = reinterpret_cast<CUdeviceptr>(std::aligned_alloc(256, (bytes + 255) / 256 * 256));
  return *p ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

Driver make_driver() {
  Driver d;
  d.cuDeviceGet = [](CUdevice* device, int) { return *device = 0, CUDA_SUCCESS; };
  d.cuDevicePrimaryCtxRetain = [](CUcontext* context, CUdevice) { return *context = some_handle<CUcontext>(), CUDA_SUCCESS; };
  d.cuCtxSetCurrent = [](CUcontext) { return CUDA_SUCCESS; };
  d.cuStreamCreate = [](CUstream* stream, unsigned) { return *stream = some_handle<CUstream>(), CUDA_SUCCESS; };
  d.cuStreamSynchronize = [](CUstream) { return CUDA_SUCCESS; };
  d.cuDeviceGetName = [](char* name, int size, CUdevice) { return std::strncpy(name, "emulator", size), CUDA_SUCCESS; };
  d.cuDeviceGetAttribute = [](int* value, CUdevice_attribute, CUdevice) { return *value = 0, CUDA_SUCCESS; };
  d.cuMemAlloc = allocate;
  d.cuMemFree = [](CUdeviceptr p) { return std::free(reinterpret_cast<void*>(p)), CUDA_SUCCESS; };
  d.cuMemsetD8Async = [](CUdeviceptr p, unsigned char value, size_t bytes, CUstream) {
    return std::memset(reinterpret_cast<void*>(p), value, bytes), CUDA_SUCCESS;
  };
  d.cuMemcpyHtoDAsync = [](CUdeviceptr to, const void* from, size_t bytes, CUstream) {
    return std::memcpy(reinterpret_cast<void*>(to), from, bytes), CUDA_SUCCESS;
  };
  d.cuMemcpyDtoHAsync = [](void* to, CUdeviceptr from, size_t bytes, CUstream) {
    return std::memcpy(to, reinterpret_cast<const void*>(from), bytes), CUDA_SUCCESS;
  };
  d.cuFuncSetAttribute = [](CUfunction, CUfunction_attribute, int) { return CUDA_SUCCESS; };
  d.cuModuleGetFunction = [](CUfunction* function, CUmodule, const char* name) {
    *function = reinterpret_cast<CUfunction>(llm_test::find_emulated(name));
    return *function ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
  };
  d.cuLaunchKernel = [](CUfunction function, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned, unsigned,
                        unsigned shared_bytes, CUstream, void** parameters, void**) {
    llm_test::run_emulated(reinterpret_cast<llm_test::EmulatedBody>(function), parameters[0], x, y, z, threads, shared_bytes);
    return CUDA_SUCCESS;
  };
  return d;
}

}  // namespace

llm::Result<const Driver*> Driver::load() {
  static const Driver driver = make_driver();
  return &driver;
}

std::string Driver::error_text(CUresult status) const { return "emulated CUDA error " + std::to_string(status); }

llm::Status Driver::check(CUresult status, const std::string& what) const {
  if (status == CUDA_SUCCESS) return {};
  return llm::Error{what + ": " + error_text(status)};
}

}  // namespace llmrt
