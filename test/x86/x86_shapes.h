// What the tests of test/gpu leave to x86: shapes that cross the edges of its tiles, a vocabulary-sized layer, and
// packing.
#pragma once

#include "test/gpu/gpu_harness.h"

namespace llm_test {

// The tests of the kernel's family in test/gpu, then these.
Outcome test_x86_kernel(const Kernel& kernel, Rng& rng);

}  // namespace llm_test
