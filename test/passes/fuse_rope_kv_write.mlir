// fuse-rope-kv-write: rotations (behind per-head norms, where there are some) and the cache write become one operation.
// RUN: llmc-opt %s --pass-pipeline='builtin.module(func.func(fuse-rope-kv-write))' -split-input-file | FileCheck %s

// CHECK-LABEL: @without_norms
// CHECK-SAME: %[[Q:[a-z0-9]+]]: tensor<?x8xf32>, %[[K:[a-z0-9]+]]: tensor<?x4xf32>, %[[V:[a-z0-9]+]]: tensor<?x4xf32>, %[[T:[a-z0-9]+]]: tensor<?x4xf32>
func.func @without_norms(%q: tensor<?x8xf32>, %k: tensor<?x4xf32>, %v: tensor<?x4xf32>, %t: tensor<?x4xf32>) -> tensor<?x8xf32> {
  // CHECK-NEXT: %[[C:.*]] = llm.kv_cache
  // CHECK-NEXT: %[[QO:.*]], %[[CO:.*]] = llm.rope_kv_write %[[Q]], %[[K]], %[[V]] table %[[T]] into %[[C]] {eps = 0.000000e+00 : f64, head_dim = 4 : i64}
  // CHECK-NEXT: llm.attention %[[QO]], %[[CO]]
  // CHECK-NEXT: return
  %qr = llm.rope %q, %t {head_dim = 4 : i64} : (tensor<?x8xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  %kr = llm.rope %k, %t {head_dim = 4 : i64} : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %c = llm.kv_cache {layer = 0 : i64, window = 0 : i64, kv_heads = 1 : i64, head_dim = 4 : i64, element = bf16}
  %d = llm.kv_write %kr, %v into %c : tensor<?x4xf32>, tensor<?x4xf32>
  %a = llm.attention %qr, %d {heads = 2 : i64, kv_heads = 1 : i64, head_dim = 4 : i64, window = 0 : i64, scale = 0.5 : f64, kv_element = bf16}
      : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return %a : tensor<?x8xf32>
}

// -----

// CHECK-LABEL: @with_norms
// CHECK-SAME: %[[Q:[a-z0-9]+]]: tensor<?x8xf32>, %[[K:[a-z0-9]+]]: tensor<?x4xf32>
func.func @with_norms(%q: tensor<?x8xf32>, %k: tensor<?x4xf32>, %v: tensor<?x4xf32>, %t: tensor<?x4xf32>) -> tensor<?x8xf32> {
  // CHECK: %[[QN:.*]] = llm.weight [#llm.part<"qn"
  // CHECK: %[[KN:.*]] = llm.weight [#llm.part<"kn"
  // CHECK-NOT: llm.rms_norm
  // CHECK: llm.rope_kv_write %[[Q]], %[[K]], %{{.*}} table %{{.*}} norms %[[QN]], %[[KN]] : tensor<4xf32>, tensor<4xf32> into %{{.*}} {eps = {{.*}} : f64, head_dim = 4 : i64}
  %qw = llm.weight [#llm.part<"qn" rows 0 to 4 cols 0 to 1>] : tensor<4xf32>
  %kw = llm.weight [#llm.part<"kn" rows 0 to 4 cols 0 to 1>] : tensor<4xf32>
  %qn = llm.rms_norm %q, %qw {eps = 1.0e-6 : f64} : (tensor<?x8xf32>, tensor<4xf32>) -> tensor<?x8xf32>
  %kn = llm.rms_norm %k, %kw {eps = 1.0e-6 : f64} : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %qr = llm.rope %qn, %t {head_dim = 4 : i64} : (tensor<?x8xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  %kr = llm.rope %kn, %t {head_dim = 4 : i64} : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %c = llm.kv_cache {layer = 0 : i64, window = 0 : i64, kv_heads = 1 : i64, head_dim = 4 : i64, element = bf16}
  %d = llm.kv_write %kr, %v into %c : tensor<?x4xf32>, tensor<?x4xf32>
  %a = llm.attention %qr, %d {heads = 2 : i64, kv_heads = 1 : i64, head_dim = 4 : i64, window = 0 : i64, scale = 0.5 : f64, kv_element = bf16}
      : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return %a : tensor<?x8xf32>
}

// -----

// A norm over the whole width (as in OLMo2) is another kernel: it stays in front.
// CHECK-LABEL: @wide_norms_stay
func.func @wide_norms_stay(%q: tensor<?x8xf32>, %k: tensor<?x8xf32>, %v: tensor<?x8xf32>, %t: tensor<?x4xf32>) -> tensor<?x8xf32> {
  // CHECK: %[[QN:.*]] = llm.rms_norm
  // CHECK: %[[KN:.*]] = llm.rms_norm
  // CHECK: llm.rope_kv_write %[[QN]], %[[KN]], %{{.*}} table %{{.*}} into
  %w = llm.weight [#llm.part<"qn" rows 0 to 8 cols 0 to 1>] : tensor<8xf32>
  %qn = llm.rms_norm %q, %w {eps = 1.0e-6 : f64} : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %kn = llm.rms_norm %k, %w {eps = 1.0e-6 : f64} : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %qr = llm.rope %qn, %t {head_dim = 4 : i64} : (tensor<?x8xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  %kr = llm.rope %kn, %t {head_dim = 4 : i64} : (tensor<?x8xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  %c = llm.kv_cache {layer = 0 : i64, window = 0 : i64, kv_heads = 2 : i64, head_dim = 4 : i64, element = bf16}
  %d = llm.kv_write %kr, %v into %c : tensor<?x8xf32>, tensor<?x8xf32>
  %a = llm.attention %qr, %d {heads = 2 : i64, kv_heads = 2 : i64, head_dim = 4 : i64, window = 0 : i64, scale = 0.5 : f64, kv_element = bf16}
      : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return %a : tensor<?x8xf32>
}

// -----

// Not: norms that differ in eps, or stand on one side only.
// CHECK-LABEL: @norms_differ
func.func @norms_differ(%q: tensor<?x8xf32>, %k: tensor<?x4xf32>, %v: tensor<?x4xf32>, %t: tensor<?x4xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  // CHECK-NOT: llm.rope_kv_write
  %w = llm.weight [#llm.part<"n" rows 0 to 4 cols 0 to 1>] : tensor<4xf32>
  %qn = llm.rms_norm %q, %w {eps = 1.0e-6 : f64} : (tensor<?x8xf32>, tensor<4xf32>) -> tensor<?x8xf32>
  %kn = llm.rms_norm %k, %w {eps = 1.0e-5 : f64} : (tensor<?x4xf32>, tensor<4xf32>) -> tensor<?x4xf32>
  %qr = llm.rope %qn, %t {head_dim = 4 : i64} : (tensor<?x8xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  %kr = llm.rope %kn, %t {head_dim = 4 : i64} : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %c = llm.kv_cache {layer = 0 : i64, window = 0 : i64, kv_heads = 1 : i64, head_dim = 4 : i64, element = bf16}
  %d = llm.kv_write %kr, %v into %c : tensor<?x4xf32>, tensor<?x4xf32>
  %a = llm.attention %qr, %d {heads = 2 : i64, kv_heads = 1 : i64, head_dim = 4 : i64, window = 0 : i64, scale = 0.5 : f64, kv_element = bf16} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %qr2 = llm.rope %qn, %t {head_dim = 4 : i64} : (tensor<?x8xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  %kr2 = llm.rope %k, %t {head_dim = 4 : i64} : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %c2 = llm.kv_cache {layer = 1 : i64, window = 0 : i64, kv_heads = 1 : i64, head_dim = 4 : i64, element = bf16}
  %d2 = llm.kv_write %kr2, %v into %c2 : tensor<?x4xf32>, tensor<?x4xf32>
  %a2 = llm.attention %qr2, %d2 {heads = 2 : i64, kv_heads = 1 : i64, head_dim = 4 : i64, window = 0 : i64, scale = 0.5 : f64, kv_element = bf16} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return %a, %a2 : tensor<?x8xf32>, tensor<?x8xf32>
}

// -----

// Not: two rope tables, and a key that something else reads too.
// CHECK-LABEL: @other_users
func.func @other_users(%q: tensor<?x8xf32>, %k: tensor<?x4xf32>, %v: tensor<?x4xf32>, %t: tensor<?x4xf32>, %u: tensor<?x4xf32>)
    -> (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x4xf32>) {
  // CHECK-NOT: llm.rope_kv_write
  %qr = llm.rope %q, %t {head_dim = 4 : i64} : (tensor<?x8xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  %kr = llm.rope %k, %u {head_dim = 4 : i64} : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %c = llm.kv_cache {layer = 0 : i64, window = 0 : i64, kv_heads = 1 : i64, head_dim = 4 : i64, element = bf16}
  %d = llm.kv_write %kr, %v into %c : tensor<?x4xf32>, tensor<?x4xf32>
  %a = llm.attention %qr, %d {heads = 2 : i64, kv_heads = 1 : i64, head_dim = 4 : i64, window = 0 : i64, scale = 0.5 : f64, kv_element = bf16} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %qr2 = llm.rope %q, %t {head_dim = 4 : i64} : (tensor<?x8xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  %kr2 = llm.rope %k, %t {head_dim = 4 : i64} : (tensor<?x4xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  %c2 = llm.kv_cache {layer = 1 : i64, window = 0 : i64, kv_heads = 1 : i64, head_dim = 4 : i64, element = bf16}
  %d2 = llm.kv_write %kr2, %v into %c2 : tensor<?x4xf32>, tensor<?x4xf32>
  %a2 = llm.attention %qr2, %d2 {heads = 2 : i64, kv_heads = 1 : i64, head_dim = 4 : i64, window = 0 : i64, scale = 0.5 : f64, kv_element = bf16} : (tensor<?x8xf32>) -> tensor<?x8xf32>
  return %a, %a2, %kr2 : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x4xf32>
}
