// merge-gate-up: the two projections that meet in a glu become one linear and two views.
// RUN: llmc-opt %s --pass-pipeline='builtin.module(func.func(merge-gate-up,canonicalize,cse))' -split-input-file | FileCheck %s

// CHECK-LABEL: @unfused
// CHECK-SAME: %[[X:[a-z0-9]+]]: tensor<?x8xf32>
func.func @unfused(%x: tensor<?x8xf32>) -> tensor<?x16xf32> {
  // CHECK: %[[W:.*]] = llm.weight [#llm.part<"gate" rows 0 to 16 cols 0 to 8>, #llm.part<"up" rows 0 to 16 cols 0 to 8>] : tensor<32x8xf16>
  // CHECK: %[[GU:.*]] = llm.linear %[[X]], %[[W]]
  // CHECK-DAG: %[[G:.*]] = llm.slice %[[GU]] at 0 :
  // CHECK-DAG: %[[U:.*]] = llm.slice %[[GU]] at 16 :
  // CHECK-DAG: %[[S:.*]] = llm.silu %[[G]]
  // CHECK: llm.mul %[[S]], %[[U]]
  %wg = llm.weight [#llm.part<"gate" rows 0 to 16 cols 0 to 8>] : tensor<16x8xf16>
  %g = llm.linear %x, %wg : (tensor<?x8xf32>, tensor<16x8xf16>) -> tensor<?x16xf32>
  %wu = llm.weight [#llm.part<"up" rows 0 to 16 cols 0 to 8>] : tensor<16x8xf16>
  %u = llm.linear %x, %wu : (tensor<?x8xf32>, tensor<16x8xf16>) -> tensor<?x16xf32>
  %s = llm.silu %g : (tensor<?x16xf32>) -> tensor<?x16xf32>
  %m = llm.mul %s, %u : (tensor<?x16xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  return %m : tensor<?x16xf32>
}

// -----

// A product commutes.
// CHECK-LABEL: @silu_on_the_right
func.func @silu_on_the_right(%x: tensor<?x8xf32>) -> tensor<?x16xf32> {
  // CHECK: llm.weight [#llm.part<"gate" {{.*}}>, #llm.part<"up" {{.*}}>]
  // CHECK-COUNT-1: llm.linear
  // CHECK-NOT: llm.linear
  %wg = llm.weight [#llm.part<"gate" rows 0 to 16 cols 0 to 8>] : tensor<16x8xf16>
  %g = llm.linear %x, %wg : (tensor<?x8xf32>, tensor<16x8xf16>) -> tensor<?x16xf32>
  %wu = llm.weight [#llm.part<"up" rows 0 to 16 cols 0 to 8>] : tensor<16x8xf16>
  %u = llm.linear %x, %wu : (tensor<?x8xf32>, tensor<16x8xf16>) -> tensor<?x16xf32>
  %s = llm.silu %g : (tensor<?x16xf32>) -> tensor<?x16xf32>
  %m = llm.mul %u, %s : (tensor<?x16xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  return %m : tensor<?x16xf32>
}

// -----

// Behind fuse-glu, with biases.
// CHECK-LABEL: @fused_with_bias
func.func @fused_with_bias(%x: tensor<?x8xf32>) -> tensor<?x16xf32> {
  // CHECK-DAG: %[[W:.*]] = llm.weight [#llm.part<"gate" {{.*}}>, #llm.part<"up" {{.*}}>] : tensor<32x8xf32>
  // CHECK-DAG: %[[B:.*]] = llm.weight [#llm.part<"gb" {{.*}}>, #llm.part<"ub" {{.*}}>] : tensor<32xf32>
  // CHECK: llm.linear %{{.*}}, %[[W]] bias %[[B]]
  // CHECK: llm.glu
  %wg = llm.weight [#llm.part<"gate" rows 0 to 16 cols 0 to 8>] : tensor<16x8xf32>
  %bg = llm.weight [#llm.part<"gb" rows 0 to 16 cols 0 to 1>] : tensor<16xf32>
  %g = llm.linear %x, %wg bias %bg : (tensor<?x8xf32>, tensor<16x8xf32>, tensor<16xf32>) -> tensor<?x16xf32>
  %wu = llm.weight [#llm.part<"up" rows 0 to 16 cols 0 to 8>] : tensor<16x8xf32>
  %bu = llm.weight [#llm.part<"ub" rows 0 to 16 cols 0 to 1>] : tensor<16xf32>
  %u = llm.linear %x, %wu bias %bu : (tensor<?x8xf32>, tensor<16x8xf32>, tensor<16xf32>) -> tensor<?x16xf32>
  %m = llm.glu %g, %u : (tensor<?x16xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  return %m : tensor<?x16xf32>
}

// -----

// Not: one projection used as both, two inputs, a product without silu.
// CHECK-LABEL: @keeps_apart
func.func @keeps_apart(%x: tensor<?x8xf32>, %y: tensor<?x8xf32>) -> (tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>) {
  // CHECK-COUNT-3: llm.linear
  // CHECK-NOT: llm.slice
  %wg = llm.weight [#llm.part<"gate" rows 0 to 16 cols 0 to 8>] : tensor<16x8xf32>
  %wu = llm.weight [#llm.part<"up" rows 0 to 16 cols 0 to 8>] : tensor<16x8xf32>
  %g = llm.linear %x, %wg : (tensor<?x8xf32>, tensor<16x8xf32>) -> tensor<?x16xf32>
  %a = llm.glu %g, %g : (tensor<?x16xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %u = llm.linear %y, %wu : (tensor<?x8xf32>, tensor<16x8xf32>) -> tensor<?x16xf32>
  %b = llm.glu %g, %u : (tensor<?x16xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  %v = llm.linear %x, %wu : (tensor<?x8xf32>, tensor<16x8xf32>) -> tensor<?x16xf32>
  %c = llm.mul %g, %v : (tensor<?x16xf32>, tensor<?x16xf32>) -> tensor<?x16xf32>
  return %a, %b, %c : tensor<?x16xf32>, tensor<?x16xf32>, tensor<?x16xf32>
}
