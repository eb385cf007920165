// The passes of the compiler (Passes.td), the options that they share, and the pipeline.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "compiler/targets/target.h"
#include "dialects/exec/ExecDialect.h"
#include "dialects/llm/LlmDialect.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/Pass.h"

namespace llmc {

// A step of at most `tokens` tokens of `seqs` sequences with `logits` logit rows.
struct Bucket {
  int64_t tokens, seqs, logits;
};

// What a compile is asked for; kept in the module as attributes, so that `llmc-opt` can run single passes on text.
//   llm.target = "sm_61"          the row of compiler/targets
//   llm.buckets = [[1, 1, 1], ...]
//   llm.activations = "f32"       keep float32 operands on every target; "int8": int8 for quantized weights wherever possible
//   llm.force_variant = {linear = "naive"}
//   llm.tuning = "llmc-tuning 1\n..."  measured times of the target's kernels (passes/Tuning.h)
//   llm.gemm = "cublas"           linear layers of many tokens go to cuBLAS where both types are the same; "auto" and "native": none does
//   llm.max_context, llm.max_batch, llm.max_step_tokens, llm.block_tokens, llm.vocab: step limits (int64)
inline constexpr llvm::StringLiteral kTargetAttr = "llm.target";
inline constexpr llvm::StringLiteral kBucketsAttr = "llm.buckets";
inline constexpr llvm::StringLiteral kActivationsAttr = "llm.activations";
inline constexpr llvm::StringLiteral kForceVariantAttr = "llm.force_variant";
inline constexpr llvm::StringLiteral kTuningAttr = "llm.tuning";
inline constexpr llvm::StringLiteral kGemmAttr = "llm.gemm";
inline constexpr llvm::StringLiteral kBucketAttr = "llm.bucket";  // on a bucket's functions
inline constexpr llvm::StringLiteral kKernelAttr = "llm.kernel";  // on an operation: what select-kernels chose

// The target row named by the module, or null with an error emitted.
const Target* module_target(mlir::ModuleOp module);
// An int64 attribute of the module, or `fallback`.
int64_t module_int(mlir::ModuleOp module, llvm::StringRef name, int64_t fallback);
// Whether linear layers may be cuBLAS calls: asked for, and the target is CUDA.
bool wants_cublas(mlir::ModuleOp module, const Target& target);

#define GEN_PASS_DECL
#include "passes/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "passes/Passes.h.inc"

// The passes in order; see Pipelines.cpp. `disabled` holds names of optional passes to leave out; an unknown or a required
// name is an error in `error`.
bool build_pipeline(mlir::OpPassManager& pm, const std::vector<std::string>& disabled, std::string& error);
std::vector<std::string> optional_passes();
void register_pipelines();

}  // namespace llmc
