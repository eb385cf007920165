// merge-qkv: three projections of one input become one linear and three views.
// RUN: llmc-opt %s --pass-pipeline='builtin.module(func.func(merge-qkv,canonicalize,cse))' -split-input-file | FileCheck %s

// CHECK-LABEL: @plain
// CHECK-SAME: %[[X:[a-z0-9]+]]: tensor<?x8xf32>
func.func @plain(%x: tensor<?x8xf32>, %t: tensor<?x4xf32>) -> tensor<?x8xf32> {
  // The recipe keeps the names and the order q, k, v.
  // CHECK: %[[W:.*]] = llm.weight [#llm.part<"q" rows 0 to 8 cols 0 to 8>, #llm.part<"k" rows 0 to 4 cols 0 to 8>, #llm.part<"v" rows 0 to 4 cols 0 to 8>] : tensor<16x8xbf16>
  // CHECK: %[[QKV:.*]] = llm.linear %[[X]], %[[W]] : (tensor<?x8xf32>, tensor<16x8xbf16>) -> tensor<?x16xf32>
  // CHECK-DAG: %[[Q:.*]] = llm.slice %[[QKV]] at 0 : (tensor<?x16xf32>) -> tensor<?x8xf32>
  // CHECK-DAG: %[[K:.*]] = llm.slice %[[QKV]] at 8 : (tensor<?x16xf32>) -> tensor<?x4xf32>
  // CHECK-DAG: %[[V:.*]] = llm.slice %[[QKV]] at 12 : (tensor<?x16xf32>) -> tensor<?x4xf32>
  // CHECK-NOT: llm.linear
  // CHECK-NOT: llm.weight
  // CHECK: llm.rope %[[Q]]
  // CHECK: %[[KR:.*]] = llm.rope %[[K]]
  // CHECK: llm.kv_write %[[KR]], %[[V]]
  %wq = llm.weight [#llm.part<"q" rows 0 to 8 cols 0 to 8>] : tensor<8x8xbf16>
  %q = llm.linear %x, %wq : (tensor<?x8xf32>, tensor<8x8xbf16>) -> tensor<?x8xf32>
  %wk = llm.weight [#llm.part<"k" rows 0 to 4 cols 0 to 8>] : tensor<4x8xbf16>
  %k = llm.linear %x, %wk : (tensor<?x8xf32>, tensor<4x8xbf16>) -> tensor<?x4xf32>
  %wv = llm.weight [#llm.part<"v" rows 0 to 4 cols 0 to 8>] : tensor<4x8xbf16>
  %v = llm.linear %x, %wv : (tensor<?x8xf32>, tensor<4x8xbf16>) -> tensor<?x4xf32>
  %qr = llm.rope %q, %t {head_dim = 4 : i64} : (tensor<?x8xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  %kr = llm.rope %k, %t {head_dim = 4 : i64} : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %c = llm.kv_cache {layer = 0 : i64, window = 0 : i64, kv_heads = 1 : i64, head_dim = 4 : i64, element = bf16}
  %d = llm.kv_write %kr, %v into %c : tensor<?x4xf32>, tensor<?x4xf32>
  %a = llm.attention %qr, %d {heads = 2 : i64, kv_heads = 1 : i64, head_dim = 4 : i64, window = 0 : i64, scale = 0.5 : f64, kv_element = bf16}
      : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return %a : tensor<?x8xf32>
}

// -----

// With biases, and with the per-head norms of Qwen3 between projection and rotation.
// CHECK-LABEL: @bias_and_head_norms
func.func @bias_and_head_norms(%x: tensor<?x8xf32>, %t: tensor<?x4xf32>) -> tensor<?x8xf32> {
  // CHECK-DAG: %[[W:.*]] = llm.weight [#llm.part<"q" {{.*}}>, #llm.part<"k" {{.*}}>, #llm.part<"v" {{.*}}>] : tensor<16x8xf32>
  // CHECK-DAG: %[[B:.*]] = llm.weight [#llm.part<"qb" {{.*}}>, #llm.part<"kb" {{.*}}>, #llm.part<"vb" {{.*}}>] : tensor<16xf32>
  // CHECK: llm.linear %{{.*}}, %[[W]] bias %[[B]] : (tensor<?x8xf32>, tensor<16x8xf32>, tensor<16xf32>) -> tensor<?x16xf32>
  // CHECK-NOT: llm.linear
  %wq = llm.weight [#llm.part<"q" rows 0 to 8 cols 0 to 8>] : tensor<8x8xf32>
  %bq = llm.weight [#llm.part<"qb" rows 0 to 8 cols 0 to 1>] : tensor<8xf32>
  %q = llm.linear %x, %wq bias %bq : (tensor<?x8xf32>, tensor<8x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %wk = llm.weight [#llm.part<"k" rows 0 to 4 cols 0 to 8>] : tensor<4x8xf32>
  %bk = llm.weight [#llm.part<"kb" rows 0 to 4 cols 0 to 1>] : tensor<4xf32>
  %k = llm.linear %x, %wk bias %bk : (tensor<?x8xf32>, tensor<4x8xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %wv = llm.weight [#llm.part<"v" rows 0 to 4 cols 0 to 8>] : tensor<4x8xf32>
  %bv = llm.weight [#llm.part<"vb" rows 0 to 4 cols 0 to 1>] : tensor<4xf32>
  %v = llm.linear %x, %wv bias %bv : (tensor<?x8xf32>, tensor<4x8xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %nw = llm.weight [#llm.part<"n" rows 0 to 4 cols 0 to 1>] : tensor<4xf32>
  %qn = llm.rms_norm %q, %nw {eps = 1.0e-6 : f64} : (tensor<?x8xf32>, tensor<4xf32>) -> tensor<?x8xf32>
  %kn = llm.rms_norm %k, %nw {eps = 1.0e-6 : f64} : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %qr = llm.rope %qn, %t {head_dim = 4 : i64} : (tensor<?x8xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  %kr = llm.rope %kn, %t {head_dim = 4 : i64} : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %c = llm.kv_cache {layer = 0 : i64, window = 0 : i64, kv_heads = 1 : i64, head_dim = 4 : i64, element = f32}
  %d = llm.kv_write %kr, %v into %c : tensor<?x4xf32>, tensor<?x4xf32>
  %a = llm.attention %qr, %d {heads = 2 : i64, kv_heads = 1 : i64, head_dim = 4 : i64, window = 0 : i64, scale = 0.5 : f64, kv_element = f32}
      : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return %a : tensor<?x8xf32>
}

// -----

// Not: inputs that differ, weights of two types, a bias on some only.
// CHECK-LABEL: @keeps_apart
func.func @keeps_apart(%x: tensor<?x8xf32>, %y: tensor<?x8xf32>)
    -> (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) {
  // CHECK-COUNT-9: llm.linear
  // CHECK-NOT: llm.slice
  %w8 = llm.weight [#llm.part<"q" rows 0 to 8 cols 0 to 8>] : tensor<8x8xf32>
  %w4 = llm.weight [#llm.part<"k" rows 0 to 4 cols 0 to 8>] : tensor<4x8xf32>
  %w4h = llm.weight [#llm.part<"k" rows 0 to 4 cols 0 to 8>] : tensor<4x8xf16>
  %b8 = llm.weight [#llm.part<"b" rows 0 to 8 cols 0 to 1>] : tensor<8xf32>
  %c0 = llm.kv_cache {layer = 0 : i64, window = 0 : i64, kv_heads = 1 : i64, head_dim = 4 : i64, element = f32}
  %c1 = llm.kv_cache {layer = 1 : i64, window = 0 : i64, kv_heads = 1 : i64, head_dim = 4 : i64, element = f32}
  %c2 = llm.kv_cache {layer = 2 : i64, window = 0 : i64, kv_heads = 1 : i64, head_dim = 4 : i64, element = f32}

  %q0 = llm.linear %x, %w8 : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  %k0 = llm.linear %y, %w4 : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %v0 = llm.linear %y, %w4h : (tensor<?x8xf32>, tensor<4x8xf16>) -> tensor<?x4xf32>
  %d0 = llm.kv_write %k0, %v0 into %c0 : tensor<?x4xf32>, tensor<?x4xf32>
  %a0 = llm.attention %q0, %d0 {heads = 2 : i64, kv_heads = 1 : i64, head_dim = 4 : i64, window = 0 : i64, scale = 0.5 : f64, kv_element = f32} : (tensor<?x8xf32>) -> tensor<?x8xf32>

  %q1 = llm.linear %a0, %w8 : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  %k1 = llm.linear %a0, %w4 : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %v1 = llm.linear %a0, %w4h : (tensor<?x8xf32>, tensor<4x8xf16>) -> tensor<?x4xf32>
  %d1 = llm.kv_write %k1, %v1 into %c1 : tensor<?x4xf32>, tensor<?x4xf32>
  %a1 = llm.attention %q1, %d1 {heads = 2 : i64, kv_heads = 1 : i64, head_dim = 4 : i64, window = 0 : i64, scale = 0.5 : f64, kv_element = f32} : (tensor<?x8xf32>) -> tensor<?x8xf32>

  %q2 = llm.linear %a1, %w8 bias %b8 : (tensor<?x8xf32>, tensor<8x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %k2 = llm.linear %a1, %w4 : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %w4v = llm.weight [#llm.part<"v" rows 0 to 4 cols 0 to 8>] : tensor<4x8xf32>
  %v2 = llm.linear %a1, %w4v : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
  %d2 = llm.kv_write %k2, %v2 into %c2 : tensor<?x4xf32>, tensor<?x4xf32>
  %a2 = llm.attention %q2, %d2 {heads = 2 : i64, kv_heads = 1 : i64, head_dim = 4 : i64, window = 0 : i64, scale = 0.5 : f64, kv_element = f32} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return %a0, %a1, %a2 : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>
}

// -----

// Quantized weights of one type: their rows are stacked.
// CHECK-LABEL: @quantized
// CHECK: llm.weight [#llm.quantized_part<rows = 8, {{.*}}>, #llm.quantized_part<rows = 4, {{.*}}>, #llm.quantized_part<rows = 4, {{.*}}>] : tensor<16x64x!llm.quantized<u4, group 32, scale f16>>
// CHECK: llm.linear
// CHECK-NOT: llm.linear
#c = #llm.packed<key = "c", wordBytes = 4, bits = 4, unitValues = 8, unitWords = 1, wordStride = 1, lineStride = 8>
#s = #llm.scales<key = "s", type = f16, rowBlock = 1, rowStride = 1, groupStride = 16>
func.func @quantized(%x: tensor<?x64xf32>, %t: tensor<?x4xf32>) -> tensor<?x8xf32> {
  %wq = llm.weight [#llm.quantized_part<rows = 8, codes = #c, scales = #s>] : tensor<8x64x!llm.quantized<u4, group 32, scale f16>>
  %q = llm.linear %x, %wq : (tensor<?x64xf32>, tensor<8x64x!llm.quantized<u4, group 32, scale f16>>) -> tensor<?x8xf32>
  %wk = llm.weight [#llm.quantized_part<rows = 4, codes = #c, scales = #s>] : tensor<4x64x!llm.quantized<u4, group 32, scale f16>>
  %k = llm.linear %x, %wk : (tensor<?x64xf32>, tensor<4x64x!llm.quantized<u4, group 32, scale f16>>) -> tensor<?x4xf32>
  %wv = llm.weight [#llm.quantized_part<rows = 4, codes = #c, scales = #s>] : tensor<4x64x!llm.quantized<u4, group 32, scale f16>>
  %v = llm.linear %x, %wv : (tensor<?x64xf32>, tensor<4x64x!llm.quantized<u4, group 32, scale f16>>) -> tensor<?x4xf32>
  %c = llm.kv_cache {layer = 0 : i64, window = 0 : i64, kv_heads = 1 : i64, head_dim = 4 : i64, element = bf16}
  %d = llm.kv_write %k, %v into %c : tensor<?x4xf32>, tensor<?x4xf32>
  %a = llm.attention %q, %d {heads = 2 : i64, kv_heads = 1 : i64, head_dim = 4 : i64, window = 0 : i64, scale = 0.5 : f64, kv_element = bf16}
      : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return %a : tensor<?x8xf32>
}

// -----

// Of several types: left alone.
// CHECK-LABEL: @quantized_differently
// CHECK-COUNT-3: llm.linear
#c = #llm.packed<key = "c", wordBytes = 4, bits = 4, unitValues = 8, unitWords = 1, wordStride = 1, lineStride = 8>
#s = #llm.scales<key = "s", type = f16, rowBlock = 1, rowStride = 1, groupStride = 16>
func.func @quantized_differently(%x: tensor<?x64xf32>, %t: tensor<?x4xf32>) -> tensor<?x8xf32> {
  %wq = llm.weight [#llm.quantized_part<rows = 8, codes = #c, scales = #s>] : tensor<8x64x!llm.quantized<u4, group 32, scale f16>>
  %q = llm.linear %x, %wq : (tensor<?x64xf32>, tensor<8x64x!llm.quantized<u4, group 32, scale f16>>) -> tensor<?x8xf32>
  %wk = llm.weight [#llm.quantized_part<rows = 4, codes = #c, scales = #s>] : tensor<4x64x!llm.quantized<u4, group 32, scale f16>>
  %k = llm.linear %x, %wk : (tensor<?x64xf32>, tensor<4x64x!llm.quantized<u4, group 32, scale f16>>) -> tensor<?x4xf32>
  %wv = llm.weight [#llm.quantized_part<rows = 4, codes = #c, scales = #s>] : tensor<4x64x!llm.quantized<u8, group 32, scale f16>>
  %v = llm.linear %x, %wv : (tensor<?x64xf32>, tensor<4x64x!llm.quantized<u8, group 32, scale f16>>) -> tensor<?x4xf32>
  %c = llm.kv_cache {layer = 0 : i64, window = 0 : i64, kv_heads = 1 : i64, head_dim = 4 : i64, element = bf16}
  %d = llm.kv_write %k, %v into %c : tensor<?x4xf32>, tensor<?x4xf32>
  %a = llm.attention %q, %d {heads = 2 : i64, kv_heads = 1 : i64, head_dim = 4 : i64, window = 0 : i64, scale = 0.5 : f64, kv_element = bf16}
      : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return %a : tensor<?x8xf32>
}
