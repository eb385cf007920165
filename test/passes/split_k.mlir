// lower-to-exec: a variant that splits K gets room for the partial sums of every tile, the counters by which the last of a tile's blocks
// knows that it is the last, and a grid of all blocks; others get null for both.
// RUN: sed 's/VARIANT/wgmma_bf16_64x64_k2/' %s | llmc-opt --select-kernels --lower-to-exec | FileCheck %s --check-prefixes=CHECK,K2
// RUN: sed 's/VARIANT/wgmma_bf16_128x128_k4/' %s | llmc-opt --select-kernels --lower-to-exec | FileCheck %s --check-prefixes=CHECK,K4
// RUN: sed 's/VARIANT/wgmma_bf16_64x64/' %s | llmc-opt --select-kernels --lower-to-exec | FileCheck %s --check-prefixes=CHECK,WHOLE
// The partial sums are a buffer like any other, and the counters order the launches that share them.
// RUN: sed 's/VARIANT/wgmma_bf16_64x64_k2/' %s | llmc-opt --select-kernels --lower-to-exec --schedule --plan-memory --verify-exec | FileCheck %s --check-prefix=ORDER

module attributes {llm.target = "sm_90", llm.force_variant = {linear_add = "VARIANT"}} {

// 40 tokens, 4100 columns: one tile of rows and 65 of columns.
// CHECK-LABEL: exec.program @program_forward_t40
// K2: %[[PARTS:.*]] = exec.buffer "o_proj splits" 2129920
// K2: exec.launch @linear_add_wgmma_bf16_64x64_k2_{{.*}} grid [130, 1, 1] (
// K2-SAME: 4100, 4096, 0, 40, 0.000000e+00, write %[[PARTS]], read_write %arrivals, map
// K2-SAME: blocks_per_sm = 1
// WHOLE-NOT: splits
// WHOLE: exec.launch @linear_add_wgmma_bf16_64x64_{{.*}} grid [65, 1, 1] (
// WHOLE-SAME: 4100, 4096, 0, 40, 0.000000e+00, null, null, map
// A second layer has partial sums of its own, and comes behind the first by the counters alone.
// ORDER: exec.launch @rms_norm_{{.*}} after []
// ORDER: exec.launch @linear_add_wgmma_bf16_64x64_k2_{{.*}} after [0]
// ORDER: exec.launch @linear_add_wgmma_bf16_64x64_k2_{{.*}} after [1]
func.func @forward_t40(%x: tensor<?x4100xf32>, %p: tensor<?xi32>, %r: tensor<?xi32>) -> (tensor<?x4100xf32>, tensor<?x4100xf32>)
    attributes {llm.bucket = array<i64: 40, 8, 16>} {
  %n = llm.weight [#llm.part<"n" rows 0 to 4096 cols 0 to 1>] : tensor<4096xbf16>
  %s = llm.slice %x at 0 : (tensor<?x4100xf32>) -> tensor<?x4096xf32>
  %h = llm.rms_norm %s, %n {eps = 1.0e-5 : f64} : (tensor<?x4096xf32>, tensor<4096xbf16>) -> tensor<?x4096xbf16>
  %w = llm.weight [#llm.part<"w" rows 0 to 4100 cols 0 to 4096>] : tensor<4100x4096xbf16>
  %y = llm.fused_linear "add" %h, %w residual %x {eps = 0.0 : f64, resultSegmentSizes = array<i32: 1, 0, 0>}
      : (tensor<?x4096xbf16>, tensor<4100x4096xbf16>, tensor<?x4100xf32>) -> tensor<?x4100xf32> loc("o_proj")
  %z = llm.fused_linear "add" %h, %w residual %x {eps = 0.0 : f64, resultSegmentSizes = array<i32: 1, 0, 0>}
      : (tensor<?x4096xbf16>, tensor<4100x4096xbf16>, tensor<?x4100xf32>) -> tensor<?x4100xf32> loc("down_proj")
  return %y, %z : tensor<?x4100xf32>, tensor<?x4100xf32>
}

// 100 tokens: 1 x 33 tiles of 128 x 128, four blocks each.
// CHECK-LABEL: exec.program @program_forward_t100
// K4: %[[PARTS:.*]] = exec.buffer "o_proj splits" 8650752
// K4: exec.launch @linear_add_wgmma_bf16_128x128_k4_{{.*}} grid [132, 1, 1] ({{.*}}, write %[[PARTS]], read_write %arrivals, map
func.func @forward_t100(%x: tensor<?x4100xf32>, %p: tensor<?xi32>, %r: tensor<?xi32>) -> (tensor<?x4100xf32>, tensor<?x4100xf32>)
    attributes {llm.bucket = array<i64: 100, 8, 16>} {
  %n = llm.weight [#llm.part<"n" rows 0 to 4096 cols 0 to 1>] : tensor<4096xbf16>
  %s = llm.slice %x at 0 : (tensor<?x4100xf32>) -> tensor<?x4096xf32>
  %h = llm.rms_norm %s, %n {eps = 1.0e-5 : f64} : (tensor<?x4096xf32>, tensor<4096xbf16>) -> tensor<?x4096xbf16>
  %w = llm.weight [#llm.part<"w" rows 0 to 4100 cols 0 to 4096>] : tensor<4100x4096xbf16>
  %y = llm.fused_linear "add" %h, %w residual %x {eps = 0.0 : f64, resultSegmentSizes = array<i32: 1, 0, 0>}
      : (tensor<?x4096xbf16>, tensor<4100x4096xbf16>, tensor<?x4100xf32>) -> tensor<?x4100xf32> loc("o_proj")
  return %y, %y : tensor<?x4100xf32>, tensor<?x4100xf32>
}
}
