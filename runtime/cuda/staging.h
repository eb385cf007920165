// Copies from files and pageable memory to the device, through pinned buffers that several threads fill.
#pragma once

#include <span>
#include <vector>

#include "runtime/cuda/cuda_handles.h"
#include "runtime/device.h"

namespace llmrt {

class Staging {
 public:
  // Queues all copies on the stream, piece by piece as the buffers come free. The last ones may still be on their way
  // when it returns; they no longer need the sources.
  llm::Status copy(const CudaContextPtr& context, CUstream stream, std::span<const HostCopy> copies);

 private:
  struct Buffer {  // of one thread
    PinnedMemory memory;
    CudaEvent copied;  // the device has read the buffer
  };
  std::vector<Buffer> buffers_;
};

}  // namespace llmrt
