// A tensor map as it was given, in place of the hardware's form.
#pragma once

#include <cstdint>

namespace llm_test {

struct FakeTensorMap {
  uint32_t element_bytes, rank, box[5], swizzle_bytes;
  const char* base;
  uint64_t dims[5], strides[4];
};

}  // namespace llm_test
