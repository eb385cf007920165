// Every operation of the llm dialect prints what it reads.
// RUN: llmc-opt %s | FileCheck %s
// RUN: llmc-opt %s | llmc-opt | FileCheck %s
// RUN: llmc-opt --mlir-print-op-generic %s | llmc-opt | FileCheck %s

// CHECK-LABEL: func.func @forward
func.func @forward(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %rows: tensor<?xi32>)
    -> (tensor<?x32xf32>, tensor<?x8xf32>) {
  // CHECK: %[[IDS:.*]] = llm.resolve_ids %{{.*}} : tensor<?xi32> -> tensor<?xi32>
  %ids = llm.resolve_ids %tokens : tensor<?xi32> -> tensor<?xi32>
  // CHECK: llm.weight [#llm.part<"embed" rows 0 to 32 cols 0 to 8>] : tensor<32x8xbf16>
  %table = llm.weight [#llm.part<"embed" rows 0 to 32 cols 0 to 8>] : tensor<32x8xbf16>
  // CHECK: llm.embed %[[IDS]], %{{.*}} : (tensor<?xi32>, tensor<32x8xbf16>) -> tensor<?x8xf32>
  %x = llm.embed %ids, %table : (tensor<?xi32>, tensor<32x8xbf16>) -> tensor<?x8xf32>
  // CHECK: llm.weight [#llm.part<"norm" rows 0 to 8 cols 0 to 1>] : tensor<8xf16>
  %norm = llm.weight [#llm.part<"norm" rows 0 to 8 cols 0 to 1>] : tensor<8xf16>
  // CHECK: llm.rms_norm %{{.*}}, %{{.*}} {eps = 1.000000e-05 : f64} : (tensor<?x8xf32>, tensor<8xf16>) -> tensor<?x8xbf16>
  %h = llm.rms_norm %x, %norm {eps = 1.0e-5 : f64} : (tensor<?x8xf32>, tensor<8xf16>) -> tensor<?x8xbf16>
  // CHECK: llm.weight [#llm.part<"q" rows 0 to 16 cols 0 to 8>, #llm.part<"k" rows 8 to 16 cols 8 to 16>] : tensor<24x8xf32>
  %wqk = llm.weight [#llm.part<"q" rows 0 to 16 cols 0 to 8>, #llm.part<"k" rows 8 to 16 cols 8 to 16>] : tensor<24x8xf32>
  %bias = llm.weight [#llm.part<"b" rows 0 to 24 cols 0 to 1>] : tensor<24xf32>
  // CHECK: %[[QK:.*]] = llm.linear %{{.*}}, %{{.*}} bias %{{.*}} : (tensor<?x8xbf16>, tensor<24x8xf32>, tensor<24xf32>) -> tensor<?x24xf32>
  %qk = llm.linear %h, %wqk bias %bias : (tensor<?x8xbf16>, tensor<24x8xf32>, tensor<24xf32>) -> tensor<?x24xf32>
  // CHECK: llm.slice %[[QK]] at 0 : (tensor<?x24xf32>) -> tensor<?x16xf32>
  %q = llm.slice %qk at 0 : (tensor<?x24xf32>) -> tensor<?x16xf32>
  // CHECK: llm.slice %[[QK]] at 16 : (tensor<?x24xf32>) -> tensor<?x8xf32>
  %k = llm.slice %qk at 16 : (tensor<?x24xf32>) -> tensor<?x8xf32>
  %wv = llm.weight [#llm.part<"v" rows 0 to 8 cols 0 to 8>] : tensor<8x8xf32>
  // CHECK: llm.linear %{{.*}}, %{{.*}} : (tensor<?x8xbf16>, tensor<8x8xf32>) -> tensor<?x8xf32>
  %v = llm.linear %h, %wv : (tensor<?x8xbf16>, tensor<8x8xf32>) -> tensor<?x8xf32>
  // CHECK: llm.rope_table %{{.*}} {factor = 1.000000e+00 : f64, inv_freq = array<f32: 1.000000e+00, 5.000000e-01>} : (tensor<?xi32>) -> tensor<?x4xf32>
  %rope = llm.rope_table %positions {inv_freq = array<f32: 1.0, 0.5>, factor = 1.0 : f64} : (tensor<?xi32>) -> tensor<?x4xf32>
  // CHECK: llm.rope %{{.*}}, %{{.*}} {head_dim = 4 : i64} : (tensor<?x16xf32>, tensor<?x4xf32>) -> tensor<?x16xf32>
  %qr = llm.rope %q, %rope {head_dim = 4 : i64} : (tensor<?x16xf32>, tensor<?x4xf32>) -> tensor<?x16xf32>
  %kr = llm.rope %k, %rope {head_dim = 4 : i64} : (tensor<?x8xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  // CHECK: %[[C0:.*]] = llm.kv_cache {element = bf16, head_dim = 4 : i64, kv_heads = 2 : i64, layer = 0 : i64, window = 0 : i64}
  %c0 = llm.kv_cache {layer = 0 : i64, window = 0 : i64, kv_heads = 2 : i64, head_dim = 4 : i64, element = bf16}
  // CHECK: llm.kv_write %{{.*}}, %{{.*}} into %[[C0]] : tensor<?x8xf32>, tensor<?x8xf32>
  %c1 = llm.kv_write %kr, %v into %c0 : tensor<?x8xf32>, tensor<?x8xf32>
  // CHECK: llm.attention %{{.*}}, %{{.*}} {head_dim = 4 : i64, heads = 4 : i64, kv_element = bf16, kv_heads = 2 : i64, scale = 5.000000e-01 : f64, window = 0 : i64} : (tensor<?x16xf32>) -> tensor<?x16xf32>
  %a = llm.attention %qr, %c1 {heads = 4 : i64, kv_heads = 2 : i64, head_dim = 4 : i64, window = 0 : i64, scale = 0.5 : f64,
                               kv_element = bf16} : (tensor<?x16xf32>) -> tensor<?x16xf32>
  %head_norm = llm.weight [#llm.part<"hn" rows 0 to 4 cols 0 to 1>] : tensor<4xf32>
  %d0 = llm.kv_cache {layer = 1 : i64, window = 16 : i64, kv_heads = 2 : i64, head_dim = 4 : i64, element = f32}
  // CHECK: llm.rope_kv_write %{{.*}}, %{{.*}}, %{{.*}} table %{{.*}} norms %{{.*}}, %{{.*}} : tensor<4xf32>, tensor<4xf32> into %{{.*}} {eps = {{[0-9.E-]+}} : f64, head_dim = 4 : i64} : tensor<?x16xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x4xf32> -> tensor<?x16xf32>
  %q2, %d1 = llm.rope_kv_write %q, %k, %v table %rope norms %head_norm, %head_norm : tensor<4xf32>, tensor<4xf32> into %d0
      {head_dim = 4 : i64, eps = 1.0e-6 : f64} : tensor<?x16xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x4xf32> -> tensor<?x16xf32>
  // CHECK: llm.rope_kv_write %{{.*}}, %{{.*}}, %{{.*}} table %{{.*}} into %{{.*}} {eps = 0.000000e+00 : f64, head_dim = 4 : i64}
  %q3, %d2 = llm.rope_kv_write %q2, %k, %v table %rope into %d1 {head_dim = 4 : i64, eps = 0.0 : f64}
      : tensor<?x16xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x4xf32> -> tensor<?x16xf32>
  %wo = llm.weight [#llm.part<"o" rows 0 to 8 cols 0 to 16>] : tensor<8x16xf32>
  %o = llm.linear %a, %wo : (tensor<?x16xf32>, tensor<8x16xf32>) -> tensor<?x8xf32>
  // CHECK: llm.add %{{.*}}, %{{.*}} : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %r = llm.add %x, %o : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  // CHECK: llm.silu %{{.*}} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %s = llm.silu %r : (tensor<?x8xf32>) -> tensor<?x8xf32>
  // CHECK: llm.mul %{{.*}}, %{{.*}} : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf16>
  %m = llm.mul %s, %r : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf16>
  // CHECK: llm.glu %{{.*}}, %{{.*}} : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %g = llm.glu %r, %x : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  // CHECK: llm.add_rms_norm %{{.*}}, %{{.*}}, %{{.*}} {eps = 1.000000e-05 : f64} : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<8xf16>) -> (tensor<?x8xf32>, tensor<?x8xf32>)
  %sum, %n = llm.add_rms_norm %r, %g, %norm {eps = 1.0e-5 : f64}
      : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<8xf16>) -> (tensor<?x8xf32>, tensor<?x8xf32>)
  // CHECK: llm.gather_rows %{{.*}}, %{{.*}} : (tensor<?x8xf32>, tensor<?xi32>) -> tensor<?x8xf32>
  %l = llm.gather_rows %n, %rows : (tensor<?x8xf32>, tensor<?xi32>) -> tensor<?x8xf32>
  %logits = llm.linear %l, %table : (tensor<?x8xf32>, tensor<32x8xbf16>) -> tensor<?x32xf32>
  return %logits, %l : tensor<?x32xf32>, tensor<?x8xf32>
}

// CHECK-LABEL: func.func @sample
func.func @sample(%logits: tensor<?x32xf32>) -> tensor<?xi32> {
  // CHECK: llm.sample %{{.*}} : (tensor<?x32xf32>) -> tensor<?xi32>
  %ids = llm.sample %logits : (tensor<?x32xf32>) -> tensor<?xi32>
  return %ids : tensor<?xi32>
}

// Projections with what stands around them: every operand that is optional is there once and absent once.
// CHECK-LABEL: func.func @fused
func.func @fused(%x: tensor<?x8xbf16>, %residual: tensor<?x32xf32>, %squares: tensor<?x1xf32>, %table: tensor<?x8xf32>) -> tensor<?x16xf32> {
  %w = llm.weight [#llm.part<"w" rows 0 to 32 cols 0 to 8>] : tensor<32x8xbf16>
  %b = llm.weight [#llm.part<"b" rows 0 to 32 cols 0 to 1>] : tensor<32xbf16>
  // CHECK: llm.fused_linear "plain" %{{.*}}, %{{.*}} {eps = 0.000000e+00 : f64{{.*}}} : (tensor<?x8xbf16>, tensor<32x8xbf16>) -> tensor<?x32xf32>
  %p = llm.fused_linear "plain" %x, %w {eps = 0.0 : f64, resultSegmentSizes = array<i32: 1, 0, 0>}
      : (tensor<?x8xbf16>, tensor<32x8xbf16>) -> tensor<?x32xf32>
  // CHECK: llm.fused_linear "glu" %[[X:.*]], %[[W:.*]] bias %[[B:.*]] squares %[[SQ:.*]] {eps = 1.000000e-05 : f64{{.*}}} : (tensor<?x8xbf16>, tensor<32x8xbf16>, tensor<32xbf16>, tensor<?x1xf32>) -> tensor<?x16xbf16>
  %g = llm.fused_linear "glu" %x, %w bias %b squares %squares {eps = 1.0e-5 : f64, resultSegmentSizes = array<i32: 1, 0, 0>}
      : (tensor<?x8xbf16>, tensor<32x8xbf16>, tensor<32xbf16>, tensor<?x1xf32>) -> tensor<?x16xbf16>
  // CHECK: llm.fused_linear "add" %[[X]], %[[W]] residual %{{.*}} {eps = 0.000000e+00 : f64{{.*}}} : (tensor<?x8xbf16>, tensor<32x8xbf16>, tensor<?x32xf32>) -> tensor<?x32xf32>
  %a = llm.fused_linear "add" %x, %w residual %residual {eps = 0.0 : f64, resultSegmentSizes = array<i32: 1, 0, 0>}
      : (tensor<?x8xbf16>, tensor<32x8xbf16>, tensor<?x32xf32>) -> tensor<?x32xf32>
  // CHECK: %{{.*}}, %{{.*}}, %[[SUMS:.*]] = llm.fused_linear "add" %[[X]], %[[W]] bias %[[B]] squares %[[SQ]] residual %{{.*}} norm %[[B]] {eps = 1.000000e-05 : f64{{.*}}} : ({{.*}}) -> (tensor<?x32xf32>, tensor<?x32xbf16>, tensor<?x2xf32>)
  %s, %scaled, %sums = llm.fused_linear "add" %x, %w bias %b squares %squares residual %residual norm %b
      {eps = 1.0e-5 : f64, resultSegmentSizes = array<i32: 1, 1, 1>}
      : (tensor<?x8xbf16>, tensor<32x8xbf16>, tensor<32xbf16>, tensor<?x1xf32>, tensor<?x32xf32>, tensor<32xbf16>)
      -> (tensor<?x32xf32>, tensor<?x32xbf16>, tensor<?x2xf32>)
  %c = llm.kv_cache {layer = 0 : i64, window = 0 : i64, kv_heads = 1 : i64, head_dim = 8 : i64, element = bf16}
  // CHECK: %[[Q:.*]], %[[D:.*]] = llm.linear_rope_kv %[[X]], %[[W]] table %[[T:.*]] into %{{.*}} {eps = 0.000000e+00 : f64, head_dim = 8 : i64, heads = 2 : i64, kv_heads = 1 : i64} : (tensor<?x8xbf16>, tensor<32x8xbf16>, tensor<?x8xf32>, !llm.kv_cache) -> (tensor<?x16xf32>, !llm.kv_cache)
  %q, %d = llm.linear_rope_kv %x, %w table %table into %c {heads = 2 : i64, kv_heads = 1 : i64, head_dim = 8 : i64, eps = 0.0 : f64}
      : (tensor<?x8xbf16>, tensor<32x8xbf16>, tensor<?x8xf32>, !llm.kv_cache) -> (tensor<?x16xf32>, !llm.kv_cache)
  // CHECK: llm.linear_rope_kv %[[X]], %[[W]] bias %[[B]] squares %[[SQ]] table %[[T]] into %[[D]] {eps = 1.000000e-05 : f64, head_dim = 8 : i64, heads = 2 : i64, kv_heads = 1 : i64}
  %q2, %e = llm.linear_rope_kv %x, %w bias %b squares %squares table %table into %d
      {heads = 2 : i64, kv_heads = 1 : i64, head_dim = 8 : i64, eps = 1.0e-5 : f64}
      : (tensor<?x8xbf16>, tensor<32x8xbf16>, tensor<32xbf16>, tensor<?x1xf32>, tensor<?x8xf32>, !llm.kv_cache) -> (tensor<?x16xf32>, !llm.kv_cache)
  return %q2 : tensor<?x16xf32>
}
