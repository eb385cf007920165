#include "compiler/compile_flags.h"

#include <filesystem>
#include <thread>

namespace llmc {
namespace {

std::string exe_dir() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).parent_path().string();
}

}  // namespace

void CompileFlags::add(CLI::App& c, CompileOptions& o) {
  c.add_option("--max-context", o.max_context, "Longest sequence, in tokens (default: the model's, at most 4096)");
  c.add_option("--max-batch", o.max_batch, "Most sequences in one step")->capture_default_str();
  c.add_option("--max-step-tokens", o.max_step_tokens, "Most tokens in one step (prefill chunk)")->capture_default_str();
  c.add_option("--kv-dtype", o.kv_dtype, "KV cache type: auto (the checkpoint's), f32, f16, bf16, or int8 (a scale for each token and head; x86-64)")
      ->check(CLI::IsMember({"auto", "f32", "f16", "bf16", "int8"}))->capture_default_str();
  c.add_option("--activations", o.activations, "Operands of linear layers: auto (the target's matrix type; int8 for quantized weights where that is faster), f32, "
                                             "int8 (as auto, and for quantized weights wherever it is possible), or fp8 (as auto, and e4m3 for weights in e4m3 "
                                             "with a scale per row, where that is faster)")
      ->check(CLI::IsMember({"auto", "f32", "int8", "fp8"}))->capture_default_str();
  c.add_option("--quantize", o.quantize, "Quantize the weights of a dense model when it is loaded: w4g128, w4g32 (4 bits, groups of 128 or 32 "
               "columns), w8 (8 bits), fp8 (e4m3); norms, biases, embedding and head stay as they are")
      ->check(CLI::IsMember({"w4g128", "w4g32", "w8", "fp8"}));
  c.add_flag("--quantize-head", o.quantize_head, "Quantize the head, too; a tied head then has a buffer of its own");
  c.add_option("--disable-pass", o.disabled_passes, "Leave out an optional pass (repeatable)")->allow_extra_args(false);
  c.add_option("-j,--jobs", o.codegen.jobs, "Kernels compiled at once (default: the number of cores)");
  c.add_option("--nvrtc", o.codegen.nvrtc_path, "libnvrtc.so.12 or its folder (also: LLMC_NVRTC)");
  c.add_option("--cache", o.codegen.cache_folder, "Kernel cache folder (also: LLMC_CACHE)");
  c.add_flag("--no-cache", no_cache_, "Compile every kernel anew");
}

void CompileFlags::complete(CompileOptions& o) const {
  if (o.codegen.jobs == 0) o.codegen.jobs = std::max(1u, std::thread::hardware_concurrency());
  o.codegen.exe_dir = exe_dir();
  if (o.codegen.cache_folder.empty()) o.codegen.cache_folder = KernelCache::default_folder();
  if (no_cache_) o.codegen.cache_folder.clear();
}

}  // namespace llmc
