// The compile: model folder in, plan file out.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "compiler/chosen_kernels.h"
#include "compiler/codegen/kernel_compiler.h"
#include "compiler/targets/target.h"
#include "passes/Tuning.h"
#include "plan/result.h"

namespace llmc {

struct CompileOptions {
  std::string model_dir;
  std::string output;
  std::vector<const Target*> targets;
  int64_t max_context = 0;  // 0: the model's, at most kDefaultMaxContext
  int64_t max_batch = 8;
  int64_t max_step_tokens = 512;
  std::string kv_dtype = "auto";       // auto (the checkpoint's type), f32, f16, bf16, int8
  std::string activations = "auto";    // auto (what the target's matrix units take), f32
  std::string gemm = "auto";           // auto (as native), native (no vendor library), cublas (CUDA: products of many tokens)
  std::string quantize;                // how dense weights are quantized here (quantize_scheme.h); "": not at all
  bool quantize_head = false;
  bool embed_weights = false;
  bool hash_weights = false;           // digests of all source tensors: the runtime checks what it reads
  std::map<std::string, std::string> force_variant;  // family -> variant
  Tuning tuning;                       // measured times, which overrule predictions
  std::vector<std::string> disabled_passes;
  std::string dump_dir;                // "" for none
  CodegenOptions codegen;
};

inline constexpr int64_t kDefaultMaxContext = 4096;

struct CompileReport {
  std::vector<std::string> warnings;
  size_t kernels = 0;
  std::map<std::string, std::vector<ChosenProgram>> chosen;  // by target
  uint64_t plan_bytes = 0;
};

// Nothing is written unless everything succeeds. MLIR's own flags apply: the program calls mlir::registerPassManagerCLOptions() first.
llm::Result<CompileReport> compile_model(const CompileOptions& options);

}  // namespace llmc
