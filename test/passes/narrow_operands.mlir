// narrow-operands: operands of linear layers take the type of the target's matrix units; everything else stays float32.
// RUN: sed 's/TARGET/sm_60/' %s | llmc-opt --narrow-operands | FileCheck %s --check-prefixes=CHECK,F32
// RUN: sed 's/TARGET/sm_61/' %s | llmc-opt --narrow-operands | FileCheck %s --check-prefixes=CHECK,F32
// RUN: sed 's/TARGET/sm_70/' %s | llmc-opt --narrow-operands | FileCheck %s --check-prefixes=CHECK,F16
// RUN: sed 's/TARGET/sm_75/' %s | llmc-opt --narrow-operands | FileCheck %s --check-prefixes=CHECK,F16
// RUN: sed 's/TARGET/sm_80/' %s | llmc-opt --narrow-operands | FileCheck %s --check-prefixes=CHECK,BF16
// RUN: sed 's/TARGET/sm_90/' %s | llmc-opt --narrow-operands | FileCheck %s --check-prefixes=CHECK,BF16
// RUN: sed 's/TARGET/sm_120/' %s | llmc-opt --narrow-operands | FileCheck %s --check-prefixes=CHECK,BF16
// RUN: sed 's/TARGET/x86-64-v3/' %s | llmc-opt --narrow-operands | FileCheck %s --check-prefixes=CHECK,F32
// RUN: sed 's/TARGET/x86-64-amx/' %s | llmc-opt --narrow-operands | FileCheck %s --check-prefixes=CHECK,AMX
// --activations f32 keeps float32 on every target.
// RUN: sed -e 's/TARGET/sm_80/' -e 's/ACTIVATIONS/f32/' %s | llmc-opt --narrow-operands | FileCheck %s --check-prefixes=CHECK,F32
// cuBLAS takes one type for both: float16 operands for float16 weights on every GPU, and bfloat16 as without.
// RUN: sed -e 's/TARGET/sm_61/' -e 's/GEMM/cublas/' %s | llmc-opt --narrow-operands | FileCheck %s --check-prefixes=CUBLAS
// RUN: sed -e 's/TARGET/x86-64-v3/' -e 's/GEMM/cublas/' %s | llmc-opt --narrow-operands | FileCheck %s --check-prefixes=CHECK,F32
// RUN: sed -e 's/TARGET/sm_13/' %s | not llmc-opt --narrow-operands 2>&1 | FileCheck %s --check-prefix=UNKNOWN
// UNKNOWN: error: unknown target 'sm_13'; known targets: sm_60, sm_61

#codes = #llm.packed<key = "c", wordBytes = 4, bits = 4, unitValues = 8, unitWords = 1, wordStride = 16, lineStride = 1>
#scales = #llm.scales<key = "s", type = f16, rowBlock = 1, rowStride = 1, groupStride = 16>

module attributes {llm.target = "TARGET", llm.activations = "ACTIVATIONS", llm.gemm = "GEMM"} {

// fp16 weights: fp16 operands wherever there are tensor cores.
// CHECK-LABEL: @fp16_weights
func.func @fp16_weights(%x: tensor<?x8xf32>, %d: tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>) {
  %nw = llm.weight [#llm.part<"n" rows 0 to 8 cols 0 to 1>] : tensor<8xf16>
  // Only the normed result is narrowed; the sum is the residual stream.
  // F32: llm.add_rms_norm {{.*}} -> (tensor<?x8xf32>, tensor<?x8xf32>)
  // AMX: llm.add_rms_norm {{.*}} -> (tensor<?x8xf32>, tensor<?x8xf32>)
  // F16: llm.add_rms_norm {{.*}} -> (tensor<?x8xf32>, tensor<?x8xf16>)
  // BF16: llm.add_rms_norm {{.*}} -> (tensor<?x8xf32>, tensor<?x8xf16>)
  // CUBLAS: llm.add_rms_norm {{.*}} -> (tensor<?x8xf32>, tensor<?x8xf16>)
  %s, %n = llm.add_rms_norm %x, %d, %nw {eps = 1.0e-5 : f64} : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<8xf16>) -> (tensor<?x8xf32>, tensor<?x8xf32>)
  %w = llm.weight [#llm.part<"w" rows 0 to 8 cols 0 to 8>] : tensor<8x8xf16>
  // F32: llm.linear {{.*}} : (tensor<?x8xf32>, tensor<8x8xf16>) -> tensor<?x8xf32>
  // AMX: llm.linear {{.*}} : (tensor<?x8xf32>, tensor<8x8xf16>) -> tensor<?x8xf32>
  // F16: llm.linear {{.*}} : (tensor<?x8xf16>, tensor<8x8xf16>) -> tensor<?x8xf32>
  // BF16: llm.linear {{.*}} : (tensor<?x8xf16>, tensor<8x8xf16>) -> tensor<?x8xf32>
  %y = llm.linear %n, %w : (tensor<?x8xf32>, tensor<8x8xf16>) -> tensor<?x8xf32>
  return %s, %y : tensor<?x8xf32>, tensor<?x8xf32>
}

// bf16 weights: bf16 operands from sm_80 on; before, float32, never a silent rounding to fp16.
// CHECK-LABEL: @bf16_weights
func.func @bf16_weights(%x: tensor<?x8xf32>, %u: tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>) {
  %nw = llm.weight [#llm.part<"n" rows 0 to 8 cols 0 to 1>] : tensor<8xbf16>
  %w = llm.weight [#llm.part<"w" rows 0 to 8 cols 0 to 8>] : tensor<8x8xbf16>
  // F32: llm.rms_norm {{.*}} -> tensor<?x8xf32>
  // F16: llm.rms_norm {{.*}} -> tensor<?x8xf32>
  // BF16: llm.rms_norm {{.*}} -> tensor<?x8xbf16>
  // AMX: llm.rms_norm {{.*}} -> tensor<?x8xbf16>
  %n = llm.rms_norm %x, %nw {eps = 1.0e-5 : f64} : (tensor<?x8xf32>, tensor<8xbf16>) -> tensor<?x8xf32>
  // Two linears of one input agree.
  %a = llm.linear %n, %w : (tensor<?x8xf32>, tensor<8x8xbf16>) -> tensor<?x8xf32>
  %b = llm.linear %n, %w : (tensor<?x8xf32>, tensor<8x8xbf16>) -> tensor<?x8xf32>
  // F32: llm.glu {{.*}} -> tensor<?x8xf32>
  // F16: llm.glu {{.*}} -> tensor<?x8xf32>
  // BF16: llm.glu {{.*}} -> tensor<?x8xbf16>
  // AMX: llm.glu {{.*}} -> tensor<?x8xbf16>
  %g = llm.glu %a, %b : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  // BF16: llm.linear {{.*}} : (tensor<?x8xbf16>, tensor<8x8xbf16>) -> tensor<?x8xf32>
  // AMX: llm.linear {{.*}} : (tensor<?x8xbf16>, tensor<8x8xbf16>) -> tensor<?x8xf32>
  %c = llm.linear %g, %w : (tensor<?x8xf32>, tensor<8x8xbf16>) -> tensor<?x8xf32>
  // The unfused form of glu narrows the product.
  // F32: llm.mul {{.*}} -> tensor<?x8xf32>
  // F16: llm.mul {{.*}} -> tensor<?x8xf32>
  // BF16: llm.mul {{.*}} -> tensor<?x8xbf16>
  // AMX: llm.mul {{.*}} -> tensor<?x8xbf16>
  %m = llm.mul %c, %u : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %d = llm.linear %m, %w : (tensor<?x8xf32>, tensor<8x8xbf16>) -> tensor<?x8xf32>
  %kv = llm.kv_cache {layer = 0 : i64, window = 0 : i64, kv_heads = 2 : i64, head_dim = 4 : i64, element = bf16}
  // F32: llm.attention {{.*}} -> tensor<?x8xf32>
  // F16: llm.attention {{.*}} -> tensor<?x8xf32>
  // BF16: llm.attention {{.*}} -> tensor<?x8xbf16>
  // AMX: llm.attention {{.*}} -> tensor<?x8xbf16>
  %t = llm.attention %d, %kv {heads = 2 : i64, kv_heads = 2 : i64, head_dim = 4 : i64, window = 0 : i64, scale = 0.5 : f64, kv_element = bf16}
      : (tensor<?x8xf32>) -> tensor<?x8xf32>
  %e = llm.linear %t, %w : (tensor<?x8xf32>, tensor<8x8xbf16>) -> tensor<?x8xf32>
  return %c, %d, %e : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>
}

// What something else reads as float32 stays float32: a residual, a slice, a result; so do operands of float32 weights.
// CHECK-LABEL: @stays_float32
func.func @stays_float32(%x: tensor<?x8xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x8xf32>, tensor<?x8xf32>) {
  // CHECK-NOT: tensor<?x8xbf16>
  // CHECK-NOT: tensor<?x8xf16>
  %nw = llm.weight [#llm.part<"n" rows 0 to 8 cols 0 to 1>] : tensor<8xbf16>
  %w = llm.weight [#llm.part<"w" rows 0 to 8 cols 0 to 8>] : tensor<8x8xbf16>
  %f = llm.weight [#llm.part<"f" rows 0 to 8 cols 0 to 8>] : tensor<8x8xf32>
  %r = llm.rms_norm %x, %nw {eps = 1.0e-5 : f64} : (tensor<?x8xf32>, tensor<8xbf16>) -> tensor<?x8xf32>
  %a = llm.linear %r, %w : (tensor<?x8xf32>, tensor<8x8xbf16>) -> tensor<?x8xf32>
  %b = llm.add %r, %a : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %p = llm.rms_norm %b, %nw {eps = 1.0e-5 : f64} : (tensor<?x8xf32>, tensor<8xbf16>) -> tensor<?x8xf32>
  %q = llm.linear %p, %w : (tensor<?x8xf32>, tensor<8x8xbf16>) -> tensor<?x8xf32>
  %h = llm.slice %p at 4 : (tensor<?x8xf32>) -> tensor<?x4xf32>
  %s = llm.rms_norm %q, %nw {eps = 1.0e-5 : f64} : (tensor<?x8xf32>, tensor<8xbf16>) -> tensor<?x8xf32>
  %t = llm.linear %s, %f : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
  %v = llm.rms_norm %t, %nw {eps = 1.0e-5 : f64} : (tensor<?x8xf32>, tensor<8xbf16>) -> tensor<?x8xf32>
  %y = llm.linear %v, %w : (tensor<?x8xf32>, tensor<8x8xbf16>) -> tensor<?x8xf32>
  // An operand that no kernel can store narrower: what a linear gives.
  %z = llm.linear %y, %w : (tensor<?x8xf32>, tensor<8x8xbf16>) -> tensor<?x8xf32>
  return %b, %q, %h, %v, %z : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x8xf32>, tensor<?x8xf32>
}

// Codes whose columns are in another order: what is gathered is narrowed where it is produced, if all that read it take the type.
// CHECK-LABEL: @ordered
// F16: llm.rms_norm {{.*}} -> tensor<?x64xf16>
// F16: llm.gather_columns {{.*}} -> tensor<?x64xf16>
// BF16: llm.rms_norm {{.*}} -> tensor<?x64xf16>
// BF16: llm.gather_columns {{.*}} -> tensor<?x64xf16>
// F32: llm.rms_norm {{.*}} -> tensor<?x64xf32>
// F32: llm.gather_columns {{.*}} -> tensor<?x64xf32>
// CHECK: llm.rms_norm {{.*}} -> tensor<?x64xf32>
// CHECK: llm.gather_columns {{.*}} -> tensor<?x64xf32>
func.func @ordered(%x: tensor<?x64xf32>) -> (tensor<?x16xf32>, tensor<?x64xf32>) {
  %nw = llm.weight [#llm.part<"n" rows 0 to 64 cols 0 to 1>] : tensor<64xf16>
  %g = llm.weight [#llm.part<"g" rows 0 to 64 cols 0 to 1>] : tensor<64xi32>
  %w = llm.weight [#llm.quantized_part<rows = 16, codes = #codes, scales = #scales, groupOf = "g">]
      : tensor<16x64x!llm.quantized<u4, group 32, scale f16, ordered>>
  %n = llm.rms_norm %x, %nw {eps = 1.0e-5 : f64} : (tensor<?x64xf32>, tensor<64xf16>) -> tensor<?x64xf32>
  %ns = llm.gather_columns %n by %g {group = 32 : i64} : (tensor<?x64xf32>, tensor<64xi32>) -> tensor<?x64xf32>
  %y = llm.linear %ns, %w : (tensor<?x64xf32>, tensor<16x64x!llm.quantized<u4, group 32, scale f16, ordered>>) -> tensor<?x16xf32>
  %m = llm.rms_norm %x, %nw {eps = 2.0e-5 : f64} : (tensor<?x64xf32>, tensor<64xf16>) -> tensor<?x64xf32>
  %ms = llm.gather_columns %m by %g {group = 32 : i64} : (tensor<?x64xf32>, tensor<64xi32>) -> tensor<?x64xf32>
  return %y, %ms : tensor<?x16xf32>, tensor<?x64xf32>
}
}
