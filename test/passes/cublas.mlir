// llm.gemm = "cublas": linear layers of many tokens, with one type for weights and operands, become exec.gemm; a bias is added behind it.
// RUN: sed -e 's/TARGET/sm_80/' -e 's/GEMM/cublas/' -e 's/FORCED//' %s | llmc-opt --select-kernels --lower-to-exec | FileCheck %s --check-prefixes=CHECK,CUBLAS
// RUN: sed -e 's/TARGET/sm_61/' -e 's/GEMM/cublas/' -e 's/FORCED//' %s | llmc-opt --select-kernels --lower-to-exec | FileCheck %s --check-prefixes=CHECK,CUBLAS
// RUN: sed -e 's/TARGET/sm_80/' -e 's/GEMM/native/' -e 's/FORCED//' %s | llmc-opt --select-kernels --lower-to-exec | FileCheck %s --check-prefix=NATIVE
// RUN: sed -e 's/TARGET/sm_80/' -e 's/GEMM/auto/' -e 's/FORCED//' %s | llmc-opt --select-kernels --lower-to-exec | FileCheck %s --check-prefix=NATIVE
// RUN: sed -e 's/TARGET/x86-64-v3/' -e 's/b*f16/f32/g' -e 's/GEMM/cublas/' -e 's/FORCED//' %s | llmc-opt --select-kernels | FileCheck %s --check-prefix=X86
// A forced variant overrules the option; forced itself, the library serves the same layers.
// RUN: sed -e 's/TARGET/sm_80/' -e 's/GEMM/cublas/' -e 's/FORCED/linear = "tiled_32x64"/' %s | llmc-opt --select-kernels --lower-to-exec | FileCheck %s --check-prefix=NATIVE
// RUN: sed -e 's/TARGET/sm_80/' -e 's/GEMM/auto/' -e 's/FORCED/linear = "cublas"/' %s | llmc-opt --select-kernels --lower-to-exec | FileCheck %s --check-prefixes=CHECK,CUBLAS
// NATIVE-NOT: exec.gemm
// X86-NOT: cublas"}

module attributes {llm.target = "TARGET", llm.gemm = "GEMM", llm.force_variant = {FORCED}} {
// CHECK-LABEL: exec.program @program_forward_t64
func.func @forward_t64(%x: tensor<?x64xf32>, %p: tensor<?xi32>, %r: tensor<?xi32>) -> (tensor<?x64xf32>, tensor<?x64xf32>)
    attributes {llm.bucket = array<i64: 64, 8, 16>} {
  %n = llm.weight [#llm.part<"n" rows 0 to 64 cols 0 to 1>] : tensor<64xf16>
  // CHECK: exec.launch @rms_norm_{{.*}} write %[[H:[0-9]+]],
  %h = llm.rms_norm %x, %n {eps = 1.0e-5 : f64} : (tensor<?x64xf32>, tensor<64xf16>) -> tensor<?x64xf16>
  %w = llm.weight [#llm.part<"w" rows 0 to 64 cols 0 to 64>] : tensor<64x64xf16>
  %b = llm.weight [#llm.part<"b" rows 0 to 64 cols 0 to 1>] : tensor<64xf16>
  // CUBLAS: exec.gemm f16 rows 64 cols 64 k 64 (read %[[H]], read %w, write %[[Y:[0-9]+]], read_write %gemm_workspace)
  // CUBLAS-SAME: op = "linear"
  // CUBLAS-NEXT: exec.launch @bias_add_thread__w_f16 grid [1, 64, 1] (read %counts, read %b, read_write %[[Y]], 0, 64)
  %y = llm.linear %h, %w bias %b : (tensor<?x64xf16>, tensor<64x64xf16>, tensor<64xf16>) -> tensor<?x64xf32>
  // Operands and weights of two types stay with our kernels.
  %v = llm.weight [#llm.part<"v" rows 0 to 64 cols 0 to 64>] : tensor<64x64xbf16>
  // CUBLAS-NOT: exec.gemm
  // CUBLAS: exec.launch @linear_
  %z = llm.linear %y, %v : (tensor<?x64xf32>, tensor<64x64xbf16>) -> tensor<?x64xf32>
  %f = llm.weight [#llm.part<"f" rows 0 to 64 cols 0 to 64>] : tensor<64x64xf32>
  // CUBLAS: exec.gemm f32 rows 64
  // CUBLAS-NOT: exec.launch @bias_add
  %g = llm.linear %z, %f : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  return %g, %z : tensor<?x64xf32>, tensor<?x64xf32>
}

// Few rows stay with our kernels, too.
// CHECK-LABEL: exec.program @program_forward_t16
// CUBLAS-NOT: exec.gemm
func.func @forward_t16(%x: tensor<?x64xf32>, %p: tensor<?xi32>, %r: tensor<?xi32>) -> (tensor<?x64xf32>, tensor<?x64xf32>)
    attributes {llm.bucket = array<i64: 16, 8, 16>} {
  %f = llm.weight [#llm.part<"f" rows 0 to 64 cols 0 to 64>] : tensor<64x64xf32>
  %g = llm.linear %x, %f : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  return %g, %g : tensor<?x64xf32>, tensor<?x64xf32>
}
}
