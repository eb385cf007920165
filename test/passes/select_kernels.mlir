// select-kernels: the cheapest variant for each operation, with the runner-up; a variant can be forced.
// RUN: sed 's/TARGET/sm_61/' %s | llmc-opt --select-kernels | FileCheck %s --check-prefixes=CHECK,SM61
// RUN: sed 's/TARGET/sm_80/' %s | llmc-opt --select-kernels | FileCheck %s --check-prefixes=CHECK,SM80
// RUN: sed 's/TARGET/x86-64-v3/' %s | llmc-opt --select-kernels | FileCheck %s --check-prefixes=CHECK,V3
// RUN: sed 's/TARGET/x86-64-v4/' %s | llmc-opt --select-kernels | FileCheck %s --check-prefixes=CHECK,V4
// RUN: sed -e 's/TARGET/sm_61/' -e 's/linear = ""/linear = "naive"/' %s | llmc-opt --select-kernels | FileCheck %s --check-prefix=FORCED
// RUN: sed -e 's/TARGET/sm_61/' -e 's/linear = ""/linear = "tiled_32x64"/' %s | llmc-opt --select-kernels | FileCheck %s --check-prefix=PARTLY
// RUN: sed -e 's/TARGET/sm_61/' -e 's/linear = ""/linear = "no_such"/' %s | not llmc-opt --select-kernels 2>&1 | FileCheck %s --check-prefix=NONE
// RUN: sed -e 's/TARGET/sm_61/' -e 's/linear = ""/lineal = "naive"/' %s | not llmc-opt --select-kernels 2>&1 | FileCheck %s --check-prefix=FAMILY
// RUN: sed -e 's/TARGET/sm_61/' -e 's/linear = ""/linear = "wmma_bf16_64x64"/' %s | not llmc-opt --select-kernels 2>&1 | FileCheck %s --check-prefix=ABSENT

// NONE: error: target sm_61 has no linear kernel named 'no_such' for weights bf16, operands float, 1 rows
// FAMILY: error: target sm_61 has no kernel family 'lineal'
// ABSENT: error: target sm_61 has no linear kernel named 'wmma_bf16_64x64' for weights bf16, operands float, 1 rows

module attributes {llm.target = "TARGET", llm.force_variant = {linear = ""}} {

// One token: a matrix-vector product.
// CHECK-LABEL: @forward_t1
func.func @forward_t1(%x: tensor<?x1024xf32>, %p: tensor<?xi32>, %r: tensor<?xi32>) -> tensor<?x1024xf32> attributes {llm.bucket = array<i64: 1, 1, 1>} {
  // Weights and views are no work.
  // CHECK: llm.weight
  // CHECK-NOT: llm.kernel
  // CHECK-SAME: tensor<1024x1024xbf16>
  %w = llm.weight [#llm.part<"w" rows 0 to 1024 cols 0 to 1024>] : tensor<1024x1024xbf16>
  // SM61: llm.linear {{.*}} {llm.kernel = {cost = "{{[0-9.]+}} us predicted", runner_up = "gemv_{{[a-z0-9_]+}} ({{[0-9.]+}} us predicted, chosen {{[0-9.]+}} us predicted)", variant = "gemv_{{[a-z0-9_]+}}"}}
  // SM80: llm.linear {{.*}} variant = "gemv_{{[a-z0-9_]+}}"
  // V3: llm.linear {{.*}} variant = "row1"
  // V4: llm.linear {{.*}} variant = "row1"
  // FORCED: llm.linear {{.*}} {llm.kernel = {cost = "{{[0-9.]+}} us predicted", runner_up = "none (chosen {{[0-9.]+}} us predicted)", variant = "naive"}}
  // Tiles do not serve a single row: there the usual choice stays.
  // PARTLY: llm.linear {{.*}} variant = "gemv_{{[a-z0-9_]+}}"
  %y = llm.linear %x, %w : (tensor<?x1024xf32>, tensor<1024x1024xbf16>) -> tensor<?x1024xf32>
  // CHECK: llm.slice %{{.*}} at 0 : (tensor<?x1024xf32>) -> tensor<?x512xf32>
  %g = llm.slice %y at 0 : (tensor<?x1024xf32>) -> tensor<?x512xf32>
  %u = llm.slice %y at 512 : (tensor<?x1024xf32>) -> tensor<?x512xf32>
  // SM61: llm.glu {{.*}} variant = "vector"
  // V3: llm.glu {{.*}} variant = "tile"
  // FORCED: llm.glu {{.*}} variant = "vector"
  %h = llm.glu %g, %u : (tensor<?x512xf32>, tensor<?x512xf32>) -> tensor<?x512xf32>
  return %y : tensor<?x1024xf32>
}

// 512 tokens: tiles.
// CHECK-LABEL: @forward_t512
func.func @forward_t512(%x: tensor<?x1024xf32>, %p: tensor<?xi32>, %r: tensor<?xi32>) -> tensor<?x1024xf32> attributes {llm.bucket = array<i64: 512, 8, 16>} {
  %w = llm.weight [#llm.part<"w" rows 0 to 1024 cols 0 to 1024>] : tensor<1024x1024xbf16>
  // SM61: llm.linear {{.*}} variant = "tiled_{{[0-9x]+}}"
  // V3: llm.linear {{.*}} variant = "blocked"
  // V4: llm.linear {{.*}} variant = "blocked_wide"
  // FORCED: llm.linear {{.*}} variant = "naive"
  // PARTLY: llm.linear {{.*}} variant = "tiled_32x64"
  %y = llm.linear %x, %w : (tensor<?x1024xf32>, tensor<1024x1024xbf16>) -> tensor<?x1024xf32>
  // A row of logits counts as one of the bucket's 16 logit rows, not of its 512 tokens.
  // V3: llm.gather_rows {{.*}}cost = "{{[0-9][0-9]\.}}
  // V3: llm.linear {{.*}}cost = "{{[0-9][0-9][0-9]\.}}
  %l = llm.gather_rows %y, %r : (tensor<?x1024xf32>, tensor<?xi32>) -> tensor<?x1024xf32>
  %logits = llm.linear %l, %w : (tensor<?x1024xf32>, tensor<1024x1024xbf16>) -> tensor<?x1024xf32>
  return %logits : tensor<?x1024xf32>
}
}
