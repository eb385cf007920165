// fuse-epilogues: norms, activations, residual additions and RoPE go into the projections around them, per bucket, where the target has
// kernels for it that cost no more.
// RUN: sed -e 's/TARGET/sm_90/' -e 's/GEMM/auto/' -e 's/FORCED/sample/' %s | llmc-opt --fuse-epilogues | FileCheck %s --check-prefixes=CHECK,FUSED,SM90
// RUN: sed -e 's/TARGET/sm_80/' -e 's/GEMM/auto/' -e 's/FORCED/sample/' %s | llmc-opt --fuse-epilogues | FileCheck %s --check-prefixes=CHECK,FUSED,SM80
// The user gave the products of many tokens to the library: those stay.
// RUN: sed -e 's/TARGET/sm_90/' -e 's/GEMM/cublas/' -e 's/FORCED/sample/' %s | llmc-opt --fuse-epilogues | FileCheck %s --check-prefixes=CHECK,FUSED,CUBLAS
// All stay where the user named a kernel for projections, and where the target has none for their operands.
// RUN: sed -e 's/TARGET/sm_90/' -e 's/GEMM/auto/' -e 's/FORCED/linear/' %s | llmc-opt --fuse-epilogues | FileCheck %s --check-prefix=NONE
// RUN: sed -e 's/TARGET/sm_61/' -e 's/GEMM/auto/' -e 's/FORCED/sample/' %s | llmc-opt --fuse-epilogues | FileCheck %s --check-prefix=NONE
// What was fused is lowered, and passes the verifier.
// RUN: sed -e 's/TARGET/sm_90/' -e 's/GEMM/auto/' -e 's/FORCED/embed/' %s | llmc-opt --fuse-epilogues --select-kernels --lower-to-exec --schedule --plan-memory --verify-exec | FileCheck %s --check-prefix=LOWERED
// NONE-NOT: llm.fused_linear
// NONE-NOT: llm.linear_rope_kv
// LOWERED-LABEL: exec.program @program_forward_layer
// LOWERED: exec.launch @linear_add_
// LOWERED: exec.launch @linear_rope_
// LOWERED: exec.launch @linear_add_
// LOWERED: exec.launch @linear_glu_
// LOWERED: exec.launch @linear_add_

module attributes {llm.target = "TARGET", llm.gemm = "GEMM", llm.force_variant = {FORCED = "naive"}} {

// A decode step of a layer, from the residual stream of the one before to its own: four projections, four launches beside attention.
// CHECK-LABEL: func.func @forward_layer
// CHECK-SAME: %[[X:[a-z0-9]+]]: tensor<?x128xf32>
func.func @forward_layer(%x: tensor<?x128xf32>, %p: tensor<?xi32>, %r: tensor<?xi32>)
    -> (tensor<?x128xf32>, tensor<?x128xf32>) attributes {llm.bucket = array<i64: 1, 1, 1>} {
  // CHECK: %[[D:.*]] = llm.rms_norm %[[X]]
  %dn = llm.weight [#llm.part<"dn" rows 0 to 128 cols 0 to 1>] : tensor<128xbf16>
  %d = llm.rms_norm %x, %dn {eps = 1.0e-5 : f64} : (tensor<?x128xf32>, tensor<128xbf16>) -> tensor<?x128xbf16>
  %n = llm.weight [#llm.part<"n" rows 0 to 128 cols 0 to 1>] : tensor<128xbf16>
  %wp = llm.weight [#llm.part<"wp" rows 0 to 128 cols 0 to 128>] : tensor<128x128xbf16>
  %wqkv = llm.weight [#llm.part<"wqkv" rows 0 to 256 cols 0 to 128>] : tensor<256x128xbf16>
  %b = llm.weight [#llm.part<"b" rows 0 to 256 cols 0 to 1>] : tensor<256xbf16>
  %wo = llm.weight [#llm.part<"wo" rows 0 to 128 cols 0 to 128>] : tensor<128x128xbf16>
  %wgu = llm.weight [#llm.part<"wgu" rows 0 to 512 cols 0 to 128>] : tensor<512x128xbf16>
  %wd = llm.weight [#llm.part<"wd" rows 0 to 128 cols 0 to 256>] : tensor<128x256xbf16>
  // CHECK-DAG: %[[N:.*]] = llm.weight [#llm.part<"n" {{.*}}
  // CHECK-DAG: %[[WP:.*]] = llm.weight [#llm.part<"wp" {{.*}}
  // CHECK-DAG: %[[WQKV:.*]] = llm.weight [#llm.part<"wqkv" {{.*}}
  // CHECK-DAG: %[[B:.*]] = llm.weight [#llm.part<"b" {{.*}}
  // CHECK-DAG: %[[WO:.*]] = llm.weight [#llm.part<"wo" {{.*}}
  // CHECK-DAG: %[[WGU:.*]] = llm.weight [#llm.part<"wgu" {{.*}}
  // CHECK-DAG: %[[WD:.*]] = llm.weight [#llm.part<"wd" {{.*}}
  // FUSED-NOT: llm.linear {{%}}
  // FUSED-NOT: llm.add_rms_norm
  // The projection before the norm adds the residual, and leaves the sum times the norm's weight and the sums of squares.
  // FUSED: %[[S1:.*]], %[[H1:.*]], %[[Q1:.*]] = llm.fused_linear "add" %[[D]], %[[WP]] residual %[[X]] norm %[[N]] {eps = 0.000000e+00 : f64
  // FUSED-SAME: -> (tensor<?x128xf32>, tensor<?x128xbf16>, tensor<?x8xf32>)
  %y = llm.linear %d, %wp : (tensor<?x128xbf16>, tensor<128x128xbf16>) -> tensor<?x128xf32>
  %s1, %h1 = llm.add_rms_norm %x, %y, %n {eps = 1.0e-5 : f64} : (tensor<?x128xf32>, tensor<?x128xf32>, tensor<128xbf16>) -> (tensor<?x128xf32>, tensor<?x128xbf16>)
  %t = llm.rope_table %p {inv_freq = array<f32: 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3>, factor = 1.0 : f64} : (tensor<?xi32>) -> tensor<?x16xf32>
  // q, k and v keep their bias, take the norm's scale and eps, and rotate and write by themselves.
  // FUSED: %[[T:.*]] = llm.rope_table
  // FUSED-NOT: llm.slice
  // FUSED: %[[C:.*]] = llm.kv_cache
  // FUSED: %[[QO:.*]], %[[CO:.*]] = llm.linear_rope_kv %[[H1]], %[[WQKV]] bias %[[B]] squares %[[Q1]] table %[[T]] into %[[C]]
  // FUSED-SAME: {eps = 1.000000e-05 : f64, head_dim = 32 : i64, heads = 4 : i64, kv_heads = 2 : i64}
  %qkv = llm.linear %h1, %wqkv bias %b : (tensor<?x128xbf16>, tensor<256x128xbf16>, tensor<256xbf16>) -> tensor<?x256xf32>
  %q = llm.slice %qkv at 0 : (tensor<?x256xf32>) -> tensor<?x128xf32>
  %k = llm.slice %qkv at 128 : (tensor<?x256xf32>) -> tensor<?x64xf32>
  %v = llm.slice %qkv at 192 : (tensor<?x256xf32>) -> tensor<?x64xf32>
  %c = llm.kv_cache {layer = 0 : i64, window = 0 : i64, kv_heads = 2 : i64, head_dim = 32 : i64, element = bf16}
  %qo, %co = llm.rope_kv_write %q, %k, %v table %t into %c {head_dim = 32 : i64, eps = 0.0 : f64}
      : tensor<?x128xf32>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x16xf32> -> tensor<?x128xf32>
  // FUSED: %[[A:.*]] = llm.attention %[[QO]], %[[CO]]
  %a = llm.attention %qo, %co {heads = 4 : i64, kv_heads = 2 : i64, head_dim = 32 : i64, window = 0 : i64, scale = 0.125 : f64, kv_element = bf16}
      : (tensor<?x128xf32>) -> tensor<?x128xbf16>
  // FUSED: %[[S2:.*]], %[[H2:.*]], %[[Q2:.*]] = llm.fused_linear "add" %[[A]], %[[WO]] residual %[[S1]] norm %[[N]]
  %o = llm.linear %a, %wo : (tensor<?x128xbf16>, tensor<128x128xbf16>) -> tensor<?x128xf32>
  %s2, %h2 = llm.add_rms_norm %s1, %o, %n {eps = 1.0e-6 : f64} : (tensor<?x128xf32>, tensor<?x128xf32>, tensor<128xbf16>) -> (tensor<?x128xf32>, tensor<?x128xbf16>)
  // silu(gate) * up, behind the norm's scale.
  // FUSED: %[[G:.*]] = llm.fused_linear "glu" %[[H2]], %[[WGU]] squares %[[Q2]] {eps = 9.99{{.*}} -> tensor<?x256xbf16>
  %gu = llm.linear %h2, %wgu : (tensor<?x128xbf16>, tensor<512x128xbf16>) -> tensor<?x512xf32>
  %gate = llm.slice %gu at 0 : (tensor<?x512xf32>) -> tensor<?x256xf32>
  %up = llm.slice %gu at 256 : (tensor<?x512xf32>) -> tensor<?x256xf32>
  %g = llm.glu %gate, %up : (tensor<?x256xf32>, tensor<?x256xf32>) -> tensor<?x256xbf16>
  // FUSED: %[[OUT:.*]] = llm.fused_linear "add" %[[G]], %[[WD]] residual %[[S2]] {eps
  // FUSED-NOT: llm.add {{%}}
  %down = llm.linear %g, %wd : (tensor<?x256xbf16>, tensor<128x256xbf16>) -> tensor<?x128xf32>
  %out = llm.add %s2, %down : (tensor<?x128xf32>, tensor<?x128xf32>) -> tensor<?x128xf32>
  // FUSED: return %[[OUT]], %[[OUT]]
  return %out, %out : tensor<?x128xf32>, tensor<?x128xf32>
}

// The residual may stand on either side. A projection with nothing around it goes to the fused family too, where that has the better kernel.
// CHECK-LABEL: func.func @forward_swapped
// CHECK-SAME: %[[X:[a-z0-9]+]]: tensor<?x128xf32>
// FUSED: %[[S:.*]] = llm.fused_linear "add" %{{[a-z0-9]+}}, %{{[a-z0-9]+}} residual %[[X]] {eps
// FUSED: %[[Z:.*]] = llm.fused_linear "plain" %{{[a-z0-9]+}}, %{{[a-z0-9]+}} {eps = 0.000000e+00 : f64
// FUSED: return %[[S]], %[[Z]]
func.func @forward_swapped(%x: tensor<?x128xf32>, %p: tensor<?xi32>, %r: tensor<?xi32>)
    -> (tensor<?x128xf32>, tensor<?x128256xf32>) attributes {llm.bucket = array<i64: 1, 1, 1>} {
  %dn = llm.weight [#llm.part<"dn" rows 0 to 128 cols 0 to 1>] : tensor<128xbf16>
  %d = llm.rms_norm %x, %dn {eps = 1.0e-5 : f64} : (tensor<?x128xf32>, tensor<128xbf16>) -> tensor<?x128xbf16>
  %w = llm.weight [#llm.part<"w" rows 0 to 128 cols 0 to 128>] : tensor<128x128xbf16>
  %y = llm.linear %d, %w : (tensor<?x128xbf16>, tensor<128x128xbf16>) -> tensor<?x128xf32>
  %s = llm.add %y, %x : (tensor<?x128xf32>, tensor<?x128xf32>) -> tensor<?x128xf32>
  %head = llm.weight [#llm.part<"head" rows 0 to 128256 cols 0 to 128>] : tensor<128256x128xbf16>
  %z = llm.linear %d, %head : (tensor<?x128xbf16>, tensor<128256x128xbf16>) -> tensor<?x128256xf32>
  return %s, %z : tensor<?x128xf32>, tensor<?x128256xf32>
}

// 512 tokens: sm_90 has kernels for this; on sm_80 only a naive one could, which would cost more.
// CHECK-LABEL: func.func @forward_t512
// SM90: llm.fused_linear "add"
// SM80-NOT: llm.fused_linear
// SM80: llm.linear {{%}}
// SM80: llm.add {{%}}
// CUBLAS-NOT: llm.fused_linear
// CUBLAS: llm.linear {{%}}
// CUBLAS: llm.add {{%}}
// CHECK: return
func.func @forward_t512(%x: tensor<?x4096xf32>, %p: tensor<?xi32>, %r: tensor<?xi32>)
    -> (tensor<?x4096xf32>, tensor<?x4096xf32>) attributes {llm.bucket = array<i64: 512, 8, 16>} {
  %dn = llm.weight [#llm.part<"dn" rows 0 to 4096 cols 0 to 1>] : tensor<4096xbf16>
  %d = llm.rms_norm %x, %dn {eps = 1.0e-5 : f64} : (tensor<?x4096xf32>, tensor<4096xbf16>) -> tensor<?x4096xbf16>
  %w = llm.weight [#llm.part<"w" rows 0 to 4096 cols 0 to 4096>] : tensor<4096x4096xbf16>
  %y = llm.linear %d, %w : (tensor<?x4096xbf16>, tensor<4096x4096xbf16>) -> tensor<?x4096xf32>
  %s = llm.add %x, %y : (tensor<?x4096xf32>, tensor<?x4096xf32>) -> tensor<?x4096xf32>
  return %s, %s : tensor<?x4096xf32>, tensor<?x4096xf32>
}

// Not: a norm that something other than a projection reads (here the gathered rows), and a product that is read besides the addition.
// CHECK-LABEL: func.func @forward_other_users
// CHECK-NOT: "add"
// CHECK: llm.add_rms_norm
// CHECK: llm.gather_rows
// CHECK: llm.silu
// CHECK: llm.add {{%}}
func.func @forward_other_users(%x: tensor<?x128xf32>, %p: tensor<?xi32>, %r: tensor<?xi32>)
    -> (tensor<?x128xf32>, tensor<?x128xf32>) attributes {llm.bucket = array<i64: 1, 1, 1>} {
  %dn = llm.weight [#llm.part<"dn" rows 0 to 128 cols 0 to 1>] : tensor<128xbf16>
  %d = llm.rms_norm %x, %dn {eps = 1.0e-5 : f64} : (tensor<?x128xf32>, tensor<128xbf16>) -> tensor<?x128xbf16>
  %w = llm.weight [#llm.part<"w" rows 0 to 128 cols 0 to 128>] : tensor<128x128xbf16>
  %n = llm.weight [#llm.part<"n" rows 0 to 128 cols 0 to 1>] : tensor<128xbf16>
  %y = llm.linear %d, %w : (tensor<?x128xbf16>, tensor<128x128xbf16>) -> tensor<?x128xf32>
  %s, %h = llm.add_rms_norm %x, %y, %n {eps = 1.0e-5 : f64} : (tensor<?x128xf32>, tensor<?x128xf32>, tensor<128xbf16>) -> (tensor<?x128xf32>, tensor<?x128xf32>)
  %l = llm.gather_rows %h, %r : (tensor<?x128xf32>, tensor<?xi32>) -> tensor<?x128xf32>
  %z = llm.linear %d, %w : (tensor<?x128xbf16>, tensor<128x128xbf16>) -> tensor<?x128xf32>
  %u = llm.silu %z : (tensor<?x128xf32>) -> tensor<?x128xf32>
  %a = llm.add %u, %z : (tensor<?x128xf32>, tensor<?x128xf32>) -> tensor<?x128xf32>
  return %l, %a : tensor<?x128xf32>, tensor<?x128xf32>
}

// Not: halves in the other order (silu(up) * gate), and a half that has another reader.
// CHECK-LABEL: func.func @forward_halves
// CHECK-NOT: "glu"
// CHECK: llm.glu
// CHECK: llm.glu
func.func @forward_halves(%x: tensor<?x128xf32>, %p: tensor<?xi32>, %r: tensor<?xi32>)
    -> (tensor<?x256xbf16>, tensor<?x256xf32>) attributes {llm.bucket = array<i64: 1, 1, 1>} {
  %dn = llm.weight [#llm.part<"dn" rows 0 to 128 cols 0 to 1>] : tensor<128xbf16>
  %d = llm.rms_norm %x, %dn {eps = 1.0e-5 : f64} : (tensor<?x128xf32>, tensor<128xbf16>) -> tensor<?x128xbf16>
  %w = llm.weight [#llm.part<"w" rows 0 to 512 cols 0 to 128>] : tensor<512x128xbf16>
  %gu = llm.linear %d, %w : (tensor<?x128xbf16>, tensor<512x128xbf16>) -> tensor<?x512xf32>
  %gate = llm.slice %gu at 0 : (tensor<?x512xf32>) -> tensor<?x256xf32>
  %up = llm.slice %gu at 256 : (tensor<?x512xf32>) -> tensor<?x256xf32>
  %g = llm.glu %up, %gate : (tensor<?x256xf32>, tensor<?x256xf32>) -> tensor<?x256xbf16>
  %gu2 = llm.linear %d, %w : (tensor<?x128xbf16>, tensor<512x128xbf16>) -> tensor<?x512xf32>
  %gate2 = llm.slice %gu2 at 0 : (tensor<?x512xf32>) -> tensor<?x256xf32>
  %up2 = llm.slice %gu2 at 256 : (tensor<?x512xf32>) -> tensor<?x256xf32>
  %g2 = llm.glu %gate2, %up2 : (tensor<?x256xf32>, tensor<?x256xf32>) -> tensor<?x256xf32>
  %s = llm.add %g2, %up2 : (tensor<?x256xf32>, tensor<?x256xf32>) -> tensor<?x256xf32>
  return %g, %s : tensor<?x256xbf16>, tensor<?x256xf32>
}

// Not: RoPE behind per-head norms, with heads that are no whole units of 16, or of a projection that is not q, k, v in this order.
// CHECK-LABEL: func.func @forward_rope_stays
// CHECK-NOT: llm.linear_rope_kv
// CHECK-COUNT-3: llm.rope_kv_write
func.func @forward_rope_stays(%x: tensor<?x128xf32>, %p: tensor<?xi32>, %r: tensor<?xi32>)
    -> (tensor<?x128xf32>, tensor<?x96xf32>) attributes {llm.bucket = array<i64: 1, 1, 1>} {
  %dn = llm.weight [#llm.part<"dn" rows 0 to 128 cols 0 to 1>] : tensor<128xbf16>
  %d = llm.rms_norm %x, %dn {eps = 1.0e-5 : f64} : (tensor<?x128xf32>, tensor<128xbf16>) -> tensor<?x128xbf16>
  %w = llm.weight [#llm.part<"w" rows 0 to 256 cols 0 to 128>] : tensor<256x128xbf16>
  %n = llm.weight [#llm.part<"n" rows 0 to 32 cols 0 to 1>] : tensor<32xbf16>
  %t = llm.rope_table %p {inv_freq = array<f32: 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3>, factor = 1.0 : f64} : (tensor<?xi32>) -> tensor<?x16xf32>
  %c = llm.kv_cache {layer = 0 : i64, window = 0 : i64, kv_heads = 2 : i64, head_dim = 32 : i64, element = bf16}
  %y = llm.linear %d, %w : (tensor<?x128xbf16>, tensor<256x128xbf16>) -> tensor<?x256xf32>
  %q = llm.slice %y at 0 : (tensor<?x256xf32>) -> tensor<?x128xf32>
  %k = llm.slice %y at 128 : (tensor<?x256xf32>) -> tensor<?x64xf32>
  %v = llm.slice %y at 192 : (tensor<?x256xf32>) -> tensor<?x64xf32>
  %qo, %co = llm.rope_kv_write %q, %k, %v table %t norms %n, %n : tensor<32xbf16>, tensor<32xbf16> into %c {head_dim = 32 : i64, eps = 1.0e-6 : f64}
      : tensor<?x128xf32>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x16xf32> -> tensor<?x128xf32>
  %w24 = llm.weight [#llm.part<"w24" rows 0 to 192 cols 0 to 128>] : tensor<192x128xbf16>
  %c24 = llm.kv_cache {layer = 1 : i64, window = 0 : i64, kv_heads = 2 : i64, head_dim = 24 : i64, element = bf16}
  %y24 = llm.linear %d, %w24 : (tensor<?x128xbf16>, tensor<192x128xbf16>) -> tensor<?x192xf32>
  %q24 = llm.slice %y24 at 0 : (tensor<?x192xf32>) -> tensor<?x96xf32>
  %k24 = llm.slice %y24 at 96 : (tensor<?x192xf32>) -> tensor<?x48xf32>
  %v24 = llm.slice %y24 at 144 : (tensor<?x192xf32>) -> tensor<?x48xf32>
  %qo24, %co24 = llm.rope_kv_write %q24, %k24, %v24 table %t into %c24 {head_dim = 24 : i64, eps = 0.0 : f64}
      : tensor<?x96xf32>, tensor<?x48xf32>, tensor<?x48xf32>, tensor<?x16xf32> -> tensor<?x96xf32>
  %c2 = llm.kv_cache {layer = 2 : i64, window = 0 : i64, kv_heads = 2 : i64, head_dim = 32 : i64, element = bf16}
  %y2 = llm.linear %d, %w : (tensor<?x128xbf16>, tensor<256x128xbf16>) -> tensor<?x256xf32>
  %q2 = llm.slice %y2 at 0 : (tensor<?x256xf32>) -> tensor<?x128xf32>
  %v2 = llm.slice %y2 at 128 : (tensor<?x256xf32>) -> tensor<?x64xf32>
  %k2 = llm.slice %y2 at 192 : (tensor<?x256xf32>) -> tensor<?x64xf32>
  %qo2, %co2 = llm.rope_kv_write %q2, %k2, %v2 table %t into %c2 {head_dim = 32 : i64, eps = 0.0 : f64}
      : tensor<?x128xf32>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x16xf32> -> tensor<?x128xf32>
  %s = llm.add %qo, %qo2 : (tensor<?x128xf32>, tensor<?x128xf32>) -> tensor<?x128xf32>
  return %s, %qo24 : tensor<?x128xf32>, tensor<?x96xf32>
}

// A function of no bucket has no kernels to ask for.
// CHECK-LABEL: func.func @forward
// CHECK-NOT: llm.fused_linear
// CHECK: llm.linear
// CHECK: llm.add
// CHECK: return
func.func @forward(%x: tensor<?x128xf32>, %p: tensor<?xi32>, %r: tensor<?xi32>) -> tensor<?x128xf32> {
  %dn = llm.weight [#llm.part<"dn" rows 0 to 128 cols 0 to 1>] : tensor<128xbf16>
  %d = llm.rms_norm %x, %dn {eps = 1.0e-5 : f64} : (tensor<?x128xf32>, tensor<128xbf16>) -> tensor<?x128xbf16>
  %w = llm.weight [#llm.part<"w" rows 0 to 128 cols 0 to 128>] : tensor<128x128xbf16>
  %y = llm.linear %d, %w : (tensor<?x128xbf16>, tensor<128x128xbf16>) -> tensor<?x128xf32>
  %s = llm.add %x, %y : (tensor<?x128xf32>, tensor<?x128xf32>) -> tensor<?x128xf32>
  return %s : tensor<?x128xf32>
}
}
