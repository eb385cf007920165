// Every operation of the exec dialect. Pointers print under the name of what they point to.
// RUN: llmc-opt %s | FileCheck %s
// RUN: llmc-opt %s | llmc-opt | FileCheck %s
// RUN: llmc-opt --mlir-print-op-generic %s | llmc-opt | FileCheck %s

// CHECK: exec.kernel @add_tile "add" from "x86/elementwise.h" {family = "add", shared_bytes = 0 : i64, threads = 1 : i64, variant = "tile"}
exec.kernel @add_tile "add" from "x86/elementwise.h" {family = "add", variant = "tile", threads = 1 : i64, shared_bytes = 0 : i64}
// CHECK: exec.weight @norm [#llm.part<"norm" rows 0 to 8 cols 0 to 1>] : 8 x 1 x bf16 {bytes = 16 : i64, layout = "rows"}
exec.weight @norm [#llm.part<"norm" rows 0 to 8 cols 0 to 1>] : 8 x 1 x bf16 {layout = "rows", bytes = 16 : i64}
// CHECK: exec.weight @qk [#llm.part<"q" rows 0 to 16 cols 0 to 8>, #llm.part<"k" rows 0 to 8 cols 0 to 8>] : 24 x 8 x f32 {bytes = 1024 : i64, init_kernel = @add_tile, layout = "interleaved16"}
exec.weight @qk [#llm.part<"q" rows 0 to 16 cols 0 to 8>, #llm.part<"k" rows 0 to 8 cols 0 to 8>] : 24 x 8 x f32
    {layout = "interleaved16", bytes = 1024 : i64, init_kernel = @add_tile}
// CHECK: exec.constant @frequencies {values = array<f32: 1.000000e+00, 5.000000e-01>}
exec.constant @frequencies {values = array<f32: 1.0, 0.5>}

// CHECK: exec.program @forward "forward" tokens 16 seqs 8 logits 16 {
exec.program @forward "forward" tokens 16 seqs 8 logits 16 {
  // CHECK-NEXT: %counts = exec.io "counts"
  %0 = exec.io "counts"
  // CHECK-NEXT: %hidden = exec.state "hidden"
  %1 = exec.state "hidden"
  // CHECK-NEXT: %kv3 = exec.kv_base 3
  %2 = exec.kv_base 3
  // CHECK-NEXT: %qk = exec.weight_ptr @qk
  %3 = exec.weight_ptr @qk
  // CHECK-NEXT: %frequencies = exec.constant_ptr @frequencies
  %4 = exec.constant_ptr @frequencies
  // CHECK-NEXT: %sum = exec.buffer "sum" 512
  %5 = exec.buffer "sum" 512
  // CHECK-NEXT: exec.launch @add_tile grid [1, 16, 1] (read %counts, read %hidden, read_write %kv3, read %qk + 32, read %frequencies, write %sum, 0, -8, null, 1.000000e-05)
  // CHECK-SAME: {bytes = array<f64: {{.*}}>, flops = array<f64: {{.*}}>, layer = "layers.3", op = "add", runner_up = "none"}
  exec.launch @add_tile grid [1, 16, 1] (read %0, read %1, read_write %2, read %3 + 32, read %4, write %5, 0, -8, null, 1.0e-5)
      {bytes = array<f64: 0.0, 1.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 1.0, 0.0, 0.0, 0.0>, layer = "layers.3", op = "add", runner_up = "none"}
  // CHECK-NEXT: exec.launch @add_tile grid [2, 1, 4] () after [0]
  exec.launch @add_tile grid [2, 1, 4] () after [0]
      {bytes = array<f64: 0.0, 1.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 1.0, 0.0, 0.0, 0.0>, layer = "", op = "add"}
  // CHECK-NEXT: exec.launch @linear grid [2, 1, 1] (map %sum + 16 : bf16 [64, 3] strides [128] box [64, 16] swizzle 128, read %qk, map %hidden : f32 [8, 2, 2] strides [32, 64] box [4, 2, 1] swizzle 0)
  exec.launch @linear grid [2, 1, 1] (map %5 + 16 : bf16 [64, 3] strides [128] box [64, 16] swizzle 128, read %3,
                                      map %1 : f32 [8, 2, 2] strides [32, 64] box [4, 2, 1] swizzle 0)
      {bytes = array<f64: 0.0, 1.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 1.0, 0.0, 0.0, 0.0>, layer = "", op = "linear"}
  // CHECK-NEXT: %gemm_workspace = exec.state "gemm_workspace"
  %6 = exec.state "gemm_workspace"
  // CHECK-NEXT: exec.gemm bf16 rows 64 cols 8 k 16 (read %hidden, read %qk + 32, write %sum, read_write %gemm_workspace) after [0, 1]
  // CHECK-SAME: layer = "layers.3.o_proj", op = "linear", runner_up = "none"}
  exec.gemm bf16 rows 64 cols 8 k 16 (read %1, read %3 + 32, write %5, read_write %6) after [0, 1]
      {bytes = array<f64: 0.0, 1.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 1.0, 0.0, 0.0, 0.0>, layer = "layers.3.o_proj", op = "linear",
       runner_up = "none"}
}

// CHECK: exec.program @sample "sample" tokens 1 seqs 1 logits 1 arena 256 {
exec.program @sample "sample" tokens 1 seqs 1 logits 1 arena 256 {
  // CHECK-NEXT: %x = exec.buffer "x" 16 at 0
  %0 = exec.buffer "x" 16 at 0
}
