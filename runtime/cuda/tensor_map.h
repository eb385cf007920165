// Tensor maps in the form that Hopper's copy engine reads.
#pragma once

#include <cstddef>

#include "runtime/cuda/driver.h"
#include "runtime/tensor_map.h"

namespace llmrt {

constexpr size_t kTensorMapBytes = 128, kTensorMapAlignment = 64;

// The encoded map, to be copied to device memory. An error where the driver has no tensor maps or refuses this one.
llm::Result<CUtensorMap> encode_tensor_map(const Driver& driver, const TensorMap& map);

}  // namespace llmrt
