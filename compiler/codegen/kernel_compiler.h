// All kernels of a target: sources from templates, compiled in parallel, through the cache.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "compiler/codegen/kernel_cache.h"
#include "compiler/codegen/nvrtc.h"
#include "compiler/targets/target.h"
#include "plan/result.h"

namespace llmc {

// An instance to compile.
struct KernelRequest {
  std::string entry;     // "linear_gemv_r4__w_bf16__x_float"
  std::string family;    // "linear"
  std::string variant;   // "gemv_r4"
  std::string file;      // "cuda/linear_gemv.h"
  std::string instance;  // "linear_gemv<bf16, float, 4>"
  int threads;
};

struct CompiledKernel {
  std::string cubin, ptx;  // CUDA: one module per kernel
  std::string source;
  int registers = -1;      // per thread
  int spill_bytes = -1;
};

struct CompiledTarget {
  std::vector<CompiledKernel> kernels;  // in the order of the requests
  std::string shared_object;            // x86: all kernels in one module
};

struct CodegenOptions {
  std::string nvrtc_path;    // see Nvrtc::load
  std::string exe_dir;       // folder of the running program
  std::string cache_folder;  // "" for none
  unsigned jobs = 1;
  std::function<void(size_t done, size_t all, const std::string& kernel)> progress;  // may be empty; called from worker threads, one at a time
};

llm::Result<CompiledTarget> compile_kernels(const Target& target, const std::vector<KernelRequest>& requests, const CodegenOptions& options);

}  // namespace llmc
