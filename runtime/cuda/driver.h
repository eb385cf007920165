// The CUDA driver API through dlopen: the same binary runs on a machine without a GPU.
//
// Types come from cuda.h (headers only; CMake: LLMC_CUDA_HEADERS); nothing links against CUDA.
#pragma once

#include <cuda.h>

#include <string>

#include "plan/result.h"

// Functions that every driver for CUDA 12 has.
#define LLMRT_CUDA_FUNCTIONS(X) \
  X(cuInit)                     \
  X(cuDriverGetVersion)         \
  X(cuGetErrorName)             \
  X(cuGetErrorString)           \
  X(cuDeviceGet)                \
  X(cuDeviceGetCount)           \
  X(cuDeviceGetName)            \
  X(cuDeviceGetAttribute)       \
  X(cuDeviceTotalMem)           \
  X(cuDevicePrimaryCtxRetain)   \
  X(cuDevicePrimaryCtxRelease)  \
  X(cuCtxSetCurrent)            \
  X(cuCtxSynchronize)           \
  X(cuMemGetInfo)               \
  X(cuMemAlloc)                 \
  X(cuMemFree)                  \
  X(cuMemHostAlloc)             \
  X(cuMemFreeHost)              \
  X(cuMemHostGetDevicePointer)  \
  X(cuMemcpyHtoDAsync)          \
  X(cuMemcpyDtoHAsync)          \
  X(cuMemcpyDtoDAsync)          \
  X(cuMemsetD8Async)            \
  X(cuModuleLoadDataEx)         \
  X(cuModuleUnload)             \
  X(cuModuleGetFunction)        \
  X(cuFuncGetAttribute)         \
  X(cuFuncSetAttribute)         \
  X(cuLaunchKernel)             \
  X(cuStreamCreate)             \
  X(cuStreamDestroy)            \
  X(cuStreamSynchronize)        \
  X(cuStreamWaitEvent)          \
  X(cuStreamQuery)              \
  X(cuStreamBeginCapture)       \
  X(cuStreamEndCapture)         \
  X(cuEventCreate)              \
  X(cuEventDestroy)             \
  X(cuEventRecord)              \
  X(cuEventQuery)               \
  X(cuEventSynchronize)         \
  X(cuEventElapsedTime)         \
  X(cuGraphCreate)              \
  X(cuGraphDestroy)             \
  X(cuGraphAddKernelNode)       \
  X(cuGraphAddMemcpyNode)       \
  X(cuGraphAddMemsetNode)       \
  X(cuGraphAddChildGraphNode)   \
  X(cuGraphInstantiate)         \
  X(cuGraphExecDestroy)         \
  X(cuGraphUpload)              \
  X(cuGraphLaunch)              \
  X(cuOccupancyMaxActiveBlocksPerMultiprocessor)

// Functions of newer drivers; null where the driver lacks them.
#define LLMRT_OPTIONAL_CUDA_FUNCTIONS(X)                   \
  X(cuGraphAddDependencies_v2) /* 12.3: programmatic edges */ \
  X(cuGraphKernelNodeSetAttribute)                         \
  X(cuTensorMapEncodeTiled)

namespace llmrt {

// The driver's functions by their names in cuda.h, whose macros pick the version: `driver.cuMemAlloc(...)` calls
// cuMemAlloc_v2.
struct Driver {
#define LLMRT_DECLARE(name) decltype(&::name) name = nullptr;
  LLMRT_CUDA_FUNCTIONS(LLMRT_DECLARE)
  LLMRT_OPTIONAL_CUDA_FUNCTIONS(LLMRT_DECLARE)
#undef LLMRT_DECLARE
  int version = 0;  // 12090: what the driver supports, not the version of cuda.h

  // Loads libcuda.so.1 and initializes it, once per process; later calls return the first result. The error says
  // whether the library, a function or a device is missing.
  static llm::Result<const Driver*> load();

  // "CUDA_ERROR_OUT_OF_MEMORY (out of memory)"
  std::string error_text(CUresult status) const;

  // Success, or the error with what was being done: "copying weights to the device: CUDA_ERROR_...".
  llm::Status check(CUresult status, const std::string& what) const;
};

// Whether the context is lost after this error, so that nothing else on the device can succeed.
bool is_sticky(CUresult status);

}  // namespace llmrt
