// Folders, common subexpressions and dead code of the llm dialect.
// RUN: llmc-opt %s --canonicalize --cse -split-input-file | FileCheck %s

// CHECK-LABEL: @slice_of_everything
// CHECK-SAME: %[[X:.*]]: tensor
func.func @slice_of_everything(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  %y = llm.slice %x at 0 : (tensor<?x8xf32>) -> tensor<?x8xf32>
  // CHECK-NEXT: return %[[X]]
  return %y : tensor<?x8xf32>
}

// -----

// CHECK-LABEL: @slice_of_slice
// CHECK-SAME: %[[X:.*]]: tensor
func.func @slice_of_slice(%x: tensor<?x16xf32>) -> tensor<?x2xf32> {
  %y = llm.slice %x at 4 : (tensor<?x16xf32>) -> tensor<?x8xf32>
  %z = llm.slice %y at 3 : (tensor<?x8xf32>) -> tensor<?x2xf32>
  // CHECK-NEXT: %[[Z:.*]] = llm.slice %[[X]] at 7 : (tensor<?x16xf32>) -> tensor<?x2xf32>
  // CHECK-NEXT: return %[[Z]]
  return %z : tensor<?x2xf32>
}

// -----

// A tied head reads the embedding table: one weight, not two.
// CHECK-LABEL: @equal_weights_are_one
func.func @equal_weights_are_one(%ids: tensor<?xi32>) -> tensor<?x32xf32> {
  // CHECK-COUNT-1: llm.weight
  // CHECK-NOT: llm.weight
  %a = llm.weight [#llm.part<"embed" rows 0 to 32 cols 0 to 8>] : tensor<32x8xbf16>
  %x = llm.embed %ids, %a : (tensor<?xi32>, tensor<32x8xbf16>) -> tensor<?x8xf32>
  %b = llm.weight [#llm.part<"embed" rows 0 to 32 cols 0 to 8>] : tensor<32x8xbf16>
  %y = llm.linear %x, %b : (tensor<?x8xf32>, tensor<32x8xbf16>) -> tensor<?x32xf32>
  return %y : tensor<?x32xf32>
}

// -----

// Every layer asks for the same rope table.
// CHECK-LABEL: @equal_rope_tables_are_one
func.func @equal_rope_tables_are_one(%p: tensor<?xi32>, %x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // CHECK: %[[T:.*]] = llm.rope_table
  // CHECK-NOT: llm.rope_table
  %a = llm.rope_table %p {inv_freq = array<f32: 1.0, 0.5>, factor = 1.0 : f64} : (tensor<?xi32>) -> tensor<?x4xf32>
  %y = llm.rope %x, %a {head_dim = 4 : i64} : (tensor<?x8xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  %b = llm.rope_table %p {inv_freq = array<f32: 1.0, 0.5>, factor = 1.0 : f64} : (tensor<?xi32>) -> tensor<?x4xf32>
  // CHECK: llm.rope %{{.*}}, %[[T]]
  // CHECK: llm.rope %{{.*}}, %[[T]]
  %z = llm.rope %y, %b {head_dim = 4 : i64} : (tensor<?x8xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  return %z : tensor<?x8xf32>
}

// -----

// CHECK-LABEL: @different_weights_stay
func.func @different_weights_stay() -> (tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf16>) {
  // CHECK-COUNT-3: llm.weight
  %a = llm.weight [#llm.part<"w" rows 0 to 4 cols 0 to 8>] : tensor<4x8xf32>
  %b = llm.weight [#llm.part<"w" rows 4 to 8 cols 0 to 8>] : tensor<4x8xf32>
  %c = llm.weight [#llm.part<"w" rows 0 to 4 cols 0 to 8>] : tensor<4x8xf16>
  return %a, %b, %c : tensor<4x8xf32>, tensor<4x8xf32>, tensor<4x8xf16>
}

// -----

// CHECK-LABEL: @dead_code_goes
func.func @dead_code_goes(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
  // CHECK-NEXT: return
  %w = llm.weight [#llm.part<"w" rows 0 to 8 cols 0 to 8>] : tensor<8x8xf32>
  %y = llm.linear %x, %w : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  %c = llm.kv_cache {layer = 0 : i64, window = 0 : i64, kv_heads = 2 : i64, head_dim = 4 : i64, element = bf16}
  %d = llm.kv_write %y, %y into %c : tensor<?x8xf32>, tensor<?x8xf32>
  return %x : tensor<?x8xf32>
}
