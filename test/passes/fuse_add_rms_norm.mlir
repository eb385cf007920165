// fuse-add-rms-norm: rms_norm(add(residual, delta)) becomes add_rms_norm, which also returns the sum.
// RUN: llmc-opt %s --pass-pipeline='builtin.module(func.func(fuse-add-rms-norm))' -split-input-file | FileCheck %s

// The sum has a user between add and norm: the fused operation stands where the sum stood.
// CHECK-LABEL: @with_other_users
// CHECK-SAME: %[[R:[a-z0-9]+]]: tensor<?x8xf32>, %[[D:[a-z0-9]+]]: tensor<?x8xf32>
func.func @with_other_users(%r: tensor<?x8xf32>, %d: tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x8xbf16>, tensor<?x8xf32>) {
  // CHECK: %[[W:.*]] = llm.weight
  // CHECK-NEXT: %[[SUM:.*]], %[[N:.*]] = llm.add_rms_norm %[[R]], %[[D]], %[[W]] {eps = 1.000000e-05 : f64} : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<8xf32>) -> (tensor<?x8xf32>, tensor<?x8xbf16>)
  // CHECK-NEXT: %[[S:.*]] = llm.silu %[[SUM]]
  // CHECK-NEXT: return %[[SUM]], %[[N]], %[[S]]
  %sum = llm.add %r, %d : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %s = llm.silu %sum : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %w = llm.weight [#llm.part<"n" rows 0 to 8 cols 0 to 1>] : tensor<8xf32>
  %n = llm.rms_norm %sum, %w {eps = 1.0e-5 : f64} : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xbf16>
  return %sum, %n, %s : tensor<?x8xf32>, tensor<?x8xbf16>, tensor<?x8xf32>
}

// -----

// A weight with another user is not moved away from it.
// CHECK-LABEL: @shared_weight
func.func @shared_weight(%r: tensor<?x8xf32>, %d: tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  // CHECK: llm.add_rms_norm
  // CHECK: llm.rms_norm
  %sum = llm.add %r, %d : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %w = llm.weight [#llm.part<"n" rows 0 to 8 cols 0 to 1>] : tensor<8xf32>
  %n = llm.rms_norm %sum, %w {eps = 1.0e-5 : f64} : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %m = llm.rms_norm %r, %w {eps = 1.0e-5 : f64} : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  return %n, %m : tensor<?x8xf32>, tensor<?x8xf32>
}

// -----

// Two norms of one sum: the first is fused, the second reads the sum.
// CHECK-LABEL: @two_norms
func.func @two_norms(%r: tensor<?x8xf32>, %d: tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  // CHECK: %[[SUM:.*]], %[[N:.*]] = llm.add_rms_norm
  // CHECK: %[[M:.*]] = llm.rms_norm %[[SUM]]
  // CHECK: return %[[N]], %[[M]]
  %sum = llm.add %r, %d : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %v = llm.weight [#llm.part<"a" rows 0 to 8 cols 0 to 1>] : tensor<8xf32>
  %n = llm.rms_norm %sum, %v {eps = 1.0e-5 : f64} : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %w = llm.weight [#llm.part<"b" rows 0 to 8 cols 0 to 1>] : tensor<8xf32>
  %m = llm.rms_norm %sum, %w {eps = 1.0e-5 : f64} : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  return %n, %m : tensor<?x8xf32>, tensor<?x8xf32>
}

// -----

// Not: a norm per head, and a norm of something that is no sum.
// CHECK-LABEL: @keeps_apart
func.func @keeps_apart(%r: tensor<?x8xf32>, %d: tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  // CHECK-NOT: llm.add_rms_norm
  %sum = llm.add %r, %d : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %h = llm.weight [#llm.part<"h" rows 0 to 4 cols 0 to 1>] : tensor<4xf32>
  %n = llm.rms_norm %sum, %h {eps = 1.0e-5 : f64} : (tensor<?x8xf32>, tensor<4xf32>) -> tensor<?x8xf32>
  %w = llm.weight [#llm.part<"w" rows 0 to 8 cols 0 to 1>] : tensor<8xf32>
  %m = llm.rms_norm %r, %w {eps = 1.0e-5 : f64} : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  return %n, %m : tensor<?x8xf32>, tensor<?x8xf32>
}
