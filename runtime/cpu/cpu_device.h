// The x86-64 device: kernels from a freestanding shared object, run over a thread pool. Its queue is synchronous.
#pragma once

#include <memory>

#include "runtime/device.h"

namespace llmrt {

// threads 0: one per core that this process may use.
llm::Result<std::unique_ptr<Device>> make_cpu_device(int threads);

}  // namespace llmrt
