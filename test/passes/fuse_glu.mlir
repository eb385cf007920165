// fuse-glu: mul(silu(gate), up) becomes glu(gate, up).
// RUN: llmc-opt %s --pass-pipeline='builtin.module(func.func(fuse-glu))' -split-input-file | FileCheck %s

// CHECK-LABEL: @silu_left
// CHECK-SAME: %[[G:[a-z0-9]+]]: tensor<?x8xf32>, %[[U:[a-z0-9]+]]: tensor<?x8xf32>
func.func @silu_left(%g: tensor<?x8xf32>, %u: tensor<?x8xf32>) -> tensor<?x8xbf16> {
  // CHECK-NEXT: %[[R:.*]] = llm.glu %[[G]], %[[U]] : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xbf16>
  // CHECK-NEXT: return %[[R]]
  %s = llm.silu %g : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %m = llm.mul %s, %u : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xbf16>
  return %m : tensor<?x8xbf16>
}

// -----

// CHECK-LABEL: @silu_right
// CHECK-SAME: %[[G:[a-z0-9]+]]: tensor<?x8xf32>, %[[U:[a-z0-9]+]]: tensor<?x8xf32>
func.func @silu_right(%g: tensor<?x8xf32>, %u: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // CHECK-NEXT: llm.glu %[[G]], %[[U]]
  %s = llm.silu %g : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %m = llm.mul %u, %s : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %m : tensor<?x8xf32>
}

// -----

// A silu with another user stays beside the glu.
// CHECK-LABEL: @silu_used_twice
func.func @silu_used_twice(%g: tensor<?x8xf32>, %u: tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  // CHECK: %[[S:.*]] = llm.silu
  // CHECK: %[[R:.*]] = llm.glu
  // CHECK: return %[[S]], %[[R]]
  %s = llm.silu %g : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %m = llm.mul %s, %u : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %s, %m : tensor<?x8xf32>, tensor<?x8xf32>
}

// -----

// silu(x)^2 is a glu of x and silu(x).
// CHECK-LABEL: @silu_squared
// CHECK-SAME: %[[X:[a-z0-9]+]]: tensor<?x8xf32>
func.func @silu_squared(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // CHECK-NEXT: %[[S:.*]] = llm.silu %[[X]]
  // CHECK-NEXT: llm.glu %[[X]], %[[S]]
  %s = llm.silu %x : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %m = llm.mul %s, %s : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %m : tensor<?x8xf32>
}

// -----

// CHECK-LABEL: @no_silu
func.func @no_silu(%g: tensor<?x8xf32>, %u: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // CHECK-NOT: llm.glu
  // CHECK: llm.mul
  %m = llm.mul %g, %u : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return %m : tensor<?x8xf32>
}
