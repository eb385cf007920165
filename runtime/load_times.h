// Where the time goes before the first token.
#pragma once

#include <chrono>
#include <cstdint>

namespace llmrt {

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(); }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

struct LoadTimes {
  double device_s = 0;     // driver and context
  double memory_s = 0;     // allocating
  double weights_s = 0;    // reading and copying weights
  double code_s = 0;       // loading kernels; on CUDA beside memory and weights
  double code_wait_s = 0;  // the part of it that they did not cover
  double init_s = 0;       // weights made of other weights, tensor maps
  double total_s = 0;      // all of these, each second once
  double graphs_s = 0;     // building programs, each at its first use; not part of total_s
  uint64_t weight_bytes = 0;
  uint64_t graphs = 0;
};

}  // namespace llmrt
