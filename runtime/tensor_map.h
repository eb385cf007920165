// What a tensor map describes: the matrix (or array of up to 5 dimensions) that a kernel copies boxes of to shared
// memory.
#pragma once

#include <compare>
#include <cstdint>
#include <vector>

#include "kernels_templates/variant.h"

namespace llmrt {

// Innermost dimension first, as cuTensorMapEncodeTiled takes them.
struct TensorMap {
  uint64_t base = 0;  // device address, 16-byte aligned
  llm::ScalarType type = llm::ScalarType::kF32;
  std::vector<uint64_t> dims;     // elements
  std::vector<uint64_t> strides;  // bytes between entries of dimensions 1, 2, ...; multiples of 16
  std::vector<uint32_t> box;      // elements copied at once, at most 256 each
  uint32_t swizzle = 0;           // bytes of the pattern in shared memory: 0 (none), 32, 64 or 128

  auto operator<=>(const TensorMap&) const = default;
};

}  // namespace llmrt
