// lower-to-exec: bfloat16 weights on float16 tensor cores (sm_70, sm_75) take a scale per row, computed at load by an init kernel.
// RUN: sed -e 's/TARGET/sm_75/' -e 's/FORCED/linear = "wmma_scaled_64x64"/' %s | llmc-opt --select-kernels --lower-to-exec | FileCheck %s --check-prefixes=CHECK,SCALED
// RUN: sed -e 's/TARGET/sm_70/' -e 's/FORCED/linear = "wmma_scaled_64x64"/' %s | llmc-opt --select-kernels --lower-to-exec | FileCheck %s --check-prefixes=CHECK,SCALED
// Other kernels need none.
// RUN: sed -e 's/TARGET/sm_61/' -e 's/FORCED//' %s | llmc-opt --select-kernels --lower-to-exec | FileCheck %s --check-prefixes=CHECK,PLAIN
// PLAIN-NOT: row_scale
// Where activations are to stay exact, none that rounds them to float16 may run.
// RUN: sed -e 's/TARGET/sm_75/' -e 's/FORCED/linear = "wmma_scaled_64x64"/' -e 's/auto/f32/' %s | not llmc-opt --select-kernels 2>&1 | FileCheck %s --check-prefix=EXACT
// EXACT: error: target sm_75 has no linear kernel named 'wmma_scaled_64x64' for weights bf16, operands float, 512 rows

module attributes {llm.target = "TARGET", llm.activations = "auto", llm.force_variant = {FORCED}} {
// CHECK-LABEL: exec.program @program_forward_t512
func.func @forward_t512(%x: tensor<?x1024xf32>, %p: tensor<?xi32>, %r: tensor<?xi32>) -> (tensor<?x1024xf32>, tensor<?x1024xf32>)
    attributes {llm.bucket = array<i64: 512, 8, 16>} {
  // SCALED-DAG: %w = exec.weight_ptr @w
  // SCALED-DAG: %[[SCALE:.*]] = exec.weight_ptr @w.row_scale
  // SCALED: exec.launch @linear_wmma_scaled_64x64__w_bf16__x_float grid [16, 8, 1] (read %counts, read %{{.*}}, read %w, null, write %{{.*}}, null, read %[[SCALE]], 0, 1024, 1024, 1, null, null)
  %w = llm.weight [#llm.part<"w" rows 0 to 1024 cols 0 to 1024>] : tensor<1024x1024xbf16>
  %y = llm.linear %x, %w : (tensor<?x1024xf32>, tensor<1024x1024xbf16>) -> tensor<?x1024xf32>
  // Two layers of one weight share its scales.
  // SCALED: exec.launch @linear_wmma_scaled_64x64__w_bf16__x_float {{.*}} read %w, null, write %{{.*}}, null, read %[[SCALE]],
  %z = llm.linear %y, %w : (tensor<?x1024xf32>, tensor<1024x1024xbf16>) -> tensor<?x1024xf32>
  return %z, %y : tensor<?x1024xf32>, tensor<?x1024xf32>
}
// The scales take four bytes a row, and come from the weight as it lies on the device.
// SCALED-DAG: exec.weight @w [#llm.part<"w" rows 0 to 1024 cols 0 to 1024>] : 1024 x 1024 x bf16 {bytes = 2097152 : i64, layout = "rows"}
// SCALED-DAG: exec.weight @w.row_scale {{.*}} : 1024 x 1024 x f32 {bytes = 4096 : i64, init_kernel = @row_scale_block__w_bf16, layout = "row_scale", source = @w}
// SCALED-DAG: exec.kernel @row_scale_block__w_bf16 "row_scale<bf16>" from "cuda/row_scale.h"

// One token is a matter of bandwidth, and goes without: the bucket's launch has no scale.
// CHECK-LABEL: exec.program @program_forward_t1
// SCALED-NOT: exec.weight_ptr @w.row_scale
// SCALED: exec.launch @linear_gemv_{{[a-z0-9_]+}}__w_bf16__x_float {{.*}} read %w, null, write %{{.*}}, null, null, 0, 1024, 1024, 1, null, null)
func.func @forward_t1(%x: tensor<?x1024xf32>, %p: tensor<?xi32>, %r: tensor<?xi32>) -> (tensor<?x1024xf32>, tensor<?x1024xf32>)
    attributes {llm.bucket = array<i64: 1, 1, 1>} {
  %w = llm.weight [#llm.part<"w" rows 0 to 1024 cols 0 to 1024>] : tensor<1024x1024xbf16>
  %y = llm.linear %x, %w : (tensor<?x1024xf32>, tensor<1024x1024xbf16>) -> tensor<?x1024xf32>
  return %y, %y : tensor<?x1024xf32>, tensor<?x1024xf32>
}

// float16 weights are what these cores take: no scales.
// CHECK-LABEL: exec.program @program_forward_t256
// SCALED: exec.launch @linear_{{.*}}__w_f16__x_float {{.*}} null, null, 0, 1024, 1024, 1, null, null)
func.func @forward_t256(%x: tensor<?x1024xf32>, %p: tensor<?xi32>, %r: tensor<?xi32>) -> (tensor<?x1024xf32>, tensor<?x1024xf32>)
    attributes {llm.bucket = array<i64: 256, 8, 16>} {
  %v = llm.weight [#llm.part<"v" rows 0 to 1024 cols 0 to 1024>] : tensor<1024x1024xf16>
  %y = llm.linear %x, %v : (tensor<?x1024xf32>, tensor<1024x1024xf16>) -> tensor<?x1024xf32>
  return %y, %y : tensor<?x1024xf32>, tensor<?x1024xf32>
}
}
