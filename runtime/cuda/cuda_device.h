// The CUDA device: kernels from cubins or PTX, programs as explicit CUDA graphs, one stream.
#pragma once

#include <memory>

#include "runtime/device.h"

namespace llmrt {

// 0 without a driver or a device.
int cuda_device_count();

// `separate_allocations`: debugging; see DeviceOptions.
llm::Result<std::unique_ptr<Device>> make_cuda_device(int index, bool separate_allocations);

}  // namespace llmrt
