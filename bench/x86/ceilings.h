// What this machine can do at most, measured: the ceilings that kernels are compared with.
#pragma once

#include "runtime/cpu/thread_pool.h"

namespace llm_bench {

struct Ceilings {
  double read_gb_s = 0;
  double fma_tflops = 0;       // float32 FMA on the widest vectors
  double vnni_tops = 0;        // vpdpbusd; 0: none here
  double amx_bf16_tflops = 0;  // on random operands: the clock depends on the bits that toggle; 0: none here
  double amx_int8_tops = 0;
};

Ceilings measure_ceilings(llmrt::ThreadPool& pool, uint32_t features);

}  // namespace llm_bench
