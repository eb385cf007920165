// Hopper's linear layers for many tokens: chosen by cost, launched with the tensor maps of x and w at the end of their arguments and one
// block per SM over all tiles. Elsewhere the maps are null.
// RUN: sed 's/TARGET/sm_90/' %s | llmc-opt --select-kernels --lower-to-exec | FileCheck %s --check-prefixes=CHECK,SM90
// RUN: sed 's/TARGET/sm_80/' %s | llmc-opt --select-kernels --lower-to-exec | FileCheck %s --check-prefixes=CHECK,SM80
// What was lowered can be read again, and passes the verifier with predecessors and memory.
// RUN: sed 's/TARGET/sm_90/' %s | llmc-opt --select-kernels --lower-to-exec --schedule --plan-memory --verify-exec | llmc-opt --verify-exec | FileCheck %s --check-prefixes=CHECK,SM90

module attributes {llm.target = "TARGET"} {

// 2048 tokens: tiles of 128 or 256 rows.
// CHECK-LABEL: exec.program @program_forward_t2048
func.func @forward_t2048(%x: tensor<?x4096xf32>, %p: tensor<?xi32>, %r: tensor<?xi32>) -> (tensor<?x4096xf32>, tensor<?x4096xf32>)
    attributes {llm.bucket = array<i64: 2048, 8, 16>} {
  %n = llm.weight [#llm.part<"n" rows 0 to 4096 cols 0 to 1>] : tensor<4096xbf16>
  %h = llm.rms_norm %x, %n {eps = 1.0e-5 : f64} : (tensor<?x4096xf32>, tensor<4096xbf16>) -> tensor<?x4096xbf16>
  %w = llm.weight [#llm.part<"w" rows 0 to 4096 cols 0 to 4096>] : tensor<4096x4096xbf16>
  // SM90: exec.launch @linear_wgmma_bf16_{{128|256}}x{{[0-9]+}}__w_bf16__x_bf16 grid [{{[0-9]+}}, 1, 1]
  // SM90-SAME: (read %counts, read %[[H:[a-z0-9_]+]], read %w, null, write %{{[a-z0-9_]+}}, null, null, 0, 4096, 4096, 1,
  // SM90-SAME: map %[[H]] : bf16 [4096, 2048] strides [8192] box [64, 128] swizzle 128,
  // SM90-SAME: map %w : bf16 [4096, 4096] strides [8192] box [64, {{[0-9]+}}] swizzle 128)
  // SM90-SAME: blocks_per_sm = 1
  // SM80: exec.launch @linear_mma_bf16_{{.*}} 0, 4096, 4096, 1, null, null)
  %y = llm.linear %h, %w : (tensor<?x4096xbf16>, tensor<4096x4096xbf16>) -> tensor<?x4096xf32>
  // Any number of columns will do.
  %m = llm.weight [#llm.part<"m" rows 0 to 4096 cols 0 to 1>] : tensor<4096xbf16>
  %odd = llm.weight [#llm.part<"odd" rows 0 to 4100 cols 0 to 4096>] : tensor<4100x4096xbf16>
  // SM90: exec.launch @linear_wgmma_{{.*}} map %odd : bf16 [4096, 4100]
  %g = llm.linear %h, %odd : (tensor<?x4096xbf16>, tensor<4100x4096xbf16>) -> tensor<?x4100xf32>
  %j = llm.slice %g at 0 : (tensor<?x4100xf32>) -> tensor<?x4096xf32>
  %s = llm.rms_norm %j, %m {eps = 1.0e-5 : f64} : (tensor<?x4096xf32>, tensor<4096xbf16>) -> tensor<?x4096xf32>
  return %y, %s : tensor<?x4096xf32>, tensor<?x4096xf32>
}

// 64 tokens: tiles of 64 rows.
// CHECK-LABEL: exec.program @program_forward_t64
func.func @forward_t64(%x: tensor<?x4096xf32>, %p: tensor<?xi32>, %r: tensor<?xi32>) -> (tensor<?x4096xf32>, tensor<?x4096xf32>)
    attributes {llm.bucket = array<i64: 64, 8, 16>} {
  %n = llm.weight [#llm.part<"n" rows 0 to 4096 cols 0 to 1>] : tensor<4096xbf16>
  %h = llm.rms_norm %x, %n {eps = 1.0e-5 : f64} : (tensor<?x4096xf32>, tensor<4096xbf16>) -> tensor<?x4096xbf16>
  %w = llm.weight [#llm.part<"w" rows 0 to 4096 cols 0 to 4096>] : tensor<4096x4096xbf16>
  // SM90: exec.launch @linear_wgmma_bf16_64x{{.*}} map %{{[a-z0-9_]+}} : bf16 [4096, 64] strides [8192] box [64, 64] swizzle 128
  %y = llm.linear %h, %w : (tensor<?x4096xbf16>, tensor<4096x4096xbf16>) -> tensor<?x4096xf32>
  return %y, %y : tensor<?x4096xf32>, tensor<?x4096xf32>
}

// fp32 operands have no wgmma.
// CHECK-LABEL: exec.program @program_forward_t512
// SM90-NOT: wgmma
// SM90: exec.launch @linear_{{.*}}, 0, 64, 64, 1, null, null)
func.func @forward_t512(%x: tensor<?x64xf32>, %p: tensor<?xi32>, %r: tensor<?xi32>) -> (tensor<?x64xf32>, tensor<?x64xf32>)
    attributes {llm.bucket = array<i64: 512, 8, 16>} {
  %f = llm.weight [#llm.part<"f" rows 0 to 64 cols 0 to 64>] : tensor<64x64xf32>
  %g = llm.linear %x, %f : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  return %g, %g : tensor<?x64xf32>, tensor<?x64xf32>
}
}
