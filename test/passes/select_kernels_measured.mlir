// select-kernels: a measured time overrules the cost model for exactly the shape that was measured, and a forced variant both.
// RUN: sed 's/FORCED/glu/' %s | llmc-opt --select-kernels | FileCheck %s --check-prefixes=CHECK,MEASURED
// RUN: sed 's/FORCED/linear/' %s | llmc-opt --select-kernels | FileCheck %s --check-prefixes=CHECK,FORCED
// RUN: sed -e 's/FORCED/glu/' -e 's/gemv_r1 /gemv_r1 x/' %s | not llmc-opt --select-kernels 2>&1 | FileCheck %s --check-prefix=BAD

// BAD: error: tuning file 'llm.tuning', line 2: us is 'x30', expected microseconds above 0

module attributes {llm.target = "sm_61", llm.force_variant = {FORCED = "naive"},
    llm.tuning = "llmc-tuning 1\0Asm_61 linear bf16 f32 - 0 1 1024 1024 1 1 1 0 gemv_r1 30\0Asm_61 linear bf16 f32 - 0 1 1024 1024 1 1 1 0 naive 20\0Asm_61 linear bf16 f32 - 0 1 1024 1024 1 1 1 0 tiled_32x64 1\0Asm_90 linear bf16 f32 - 0 2 1024 1024 1 1 1 0 naive 20"} {

// The least of the measured ones that can run (a tile has no kernel for one row). The other target's measurement does not count, and
// another number of rows is another shape.
// CHECK-LABEL: @forward_t1
// MEASURED: llm.linear {{.*}} {llm.kernel = {cost = "20.00 us measured", runner_up = "gemv_r1 (30.00 us measured, chosen 20.00 us measured)", variant = "naive"}}
// FORCED: llm.linear {{.*}} {llm.kernel = {cost = "20.00 us measured", runner_up = "none (chosen 20.00 us measured)", variant = "naive"}}
func.func @forward_t1(%x: tensor<?x1024xf32>, %p: tensor<?xi32>, %r: tensor<?xi32>) -> tensor<?x1024xf32> attributes {llm.bucket = array<i64: 1, 1, 1>} {
  %w = llm.weight [#llm.part<"w" rows 0 to 1024 cols 0 to 1024>] : tensor<1024x1024xbf16>
  %y = llm.linear %x, %w : (tensor<?x1024xf32>, tensor<1024x1024xbf16>) -> tensor<?x1024xf32>
  return %y : tensor<?x1024xf32>
}
// CHECK-LABEL: @forward_t2
// MEASURED: llm.linear {{.*}} us predicted)", variant = "gemv_r2"
// FORCED: llm.linear {{.*}} us predicted)", variant = "naive"
func.func @forward_t2(%x: tensor<?x1024xf32>, %p: tensor<?xi32>, %r: tensor<?xi32>) -> tensor<?x1024xf32> attributes {llm.bucket = array<i64: 2, 2, 2>} {
  %w = llm.weight [#llm.part<"w" rows 0 to 1024 cols 0 to 1024>] : tensor<1024x1024xbf16>
  %y = llm.linear %x, %w : (tensor<?x1024xf32>, tensor<1024x1024xbf16>) -> tensor<?x1024xf32>
  return %y : tensor<?x1024xf32>
}
}
