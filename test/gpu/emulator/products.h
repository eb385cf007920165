// Matrix products of the emulated tensor cores: a warp's 16 rows, each sum in the order of k, in float32 without fused
// steps.
#pragma once

#include <cstdint>

namespace llm_test {

// sums [16, n] += a [16, k] b [k, n]; n is a multiple of 8.
void add_product(float* sums, const float* a, const float* b, uint32_t n, uint32_t k);

// The same on sums as a warp's lanes hold them: element j * 4 + h * 2 + i of lane 4 g + t is row g + 8 h, column 8 j +
// 2 t + i. Without `accumulate` they begin at zero.
void add_to_lanes(float* const (&lanes)[32], bool accumulate, const float* a, const float* b, uint32_t n, uint32_t k);

}  // namespace llm_test
