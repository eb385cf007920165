// narrow-scales: float32 scales become those of the model's type where the target's matrix units then take its operands.
// RUN: sed -e 's/TARGET/sm_80/' -e 's/MODEL/bf16/' %s | llmc-opt --narrow-scales | FileCheck %s --check-prefixes=CHECK,BF16
// RUN: sed -e 's/TARGET/sm_90/' -e 's/MODEL/f16/' %s | llmc-opt --narrow-scales | FileCheck %s --check-prefixes=CHECK,F16
// RUN: sed -e 's/TARGET/sm_75/' -e 's/MODEL/f16/' %s | llmc-opt --narrow-scales | FileCheck %s --check-prefixes=CHECK,F16
// Not without such units, in a float32 model, or with --activations f32.
// RUN: sed -e 's/TARGET/sm_75/' -e 's/MODEL/bf16/' %s | llmc-opt --narrow-scales | FileCheck %s --check-prefixes=CHECK,F32
// RUN: sed -e 's/TARGET/sm_61/' -e 's/MODEL/f16/' %s | llmc-opt --narrow-scales | FileCheck %s --check-prefixes=CHECK,F32
// RUN: sed -e 's/TARGET/x86-64-amx/' -e 's/MODEL/bf16/' %s | llmc-opt --narrow-scales | FileCheck %s --check-prefixes=CHECK,F32
// RUN: sed -e 's/TARGET/sm_90/' -e 's/MODEL/f32/' %s | llmc-opt --narrow-scales | FileCheck %s --check-prefixes=CHECK,F32
// RUN: sed -e 's/TARGET/sm_90/' -e 's/MODEL/bf16/' -e 's/ACTIVATIONS/f32/' %s | llmc-opt --narrow-scales | FileCheck %s --check-prefixes=CHECK,F32
// The operands follow, and kernels read codes as fragments.
// RUN: sed -e 's/TARGET/sm_90/' -e 's/MODEL/bf16/' %s | llmc-opt --narrow-scales --narrow-operands --fuse-epilogues --select-kernels | FileCheck %s --check-prefix=CHOSEN
// CHOSEN: llm.fused_linear {{.*}}variant = "units4_bf16_r8"
// CHOSEN: llm.fused_linear {{.*}}variant = "{{units8|gemv}}_bf16_r8"

#codes4 = #llm.packed<key = "c4", wordBytes = 4, bits = 4, unitValues = 8, unitWords = 1, wordStride = 1, lineStride = 8>
#codes8 = #llm.packed<key = "c8", wordBytes = 4, bits = 8, unitValues = 4, unitWords = 1, wordStride = 1, lineStride = 16>
#scales = #llm.scales<key = "s", type = f32, rowBlock = 1, rowStride = 1, groupStride = 64>

module attributes {llm.target = "TARGET", llm.activations = "ACTIVATIONS"} {

// CHECK-LABEL: func.func @forward
func.func @forward(%ids: tensor<?xi32>, %p: tensor<?xi32>, %r: tensor<?xi32>) -> (tensor<?x64xf32>, tensor<?x64xf32>)
    attributes {llm.bucket = array<i64: 1, 1, 1>} {
  %e = llm.weight [#llm.part<"e" rows 0 to 96 cols 0 to 64>] : tensor<96x64xMODEL>
  %n = llm.weight [#llm.part<"n" rows 0 to 64 cols 0 to 1>] : tensor<64xMODEL>
  %x = llm.embed %ids, %e : (tensor<?xi32>, tensor<96x64xMODEL>) -> tensor<?x64xf32>
  %h = llm.rms_norm %x, %n {eps = 1.0e-5 : f64} : (tensor<?x64xf32>, tensor<64xMODEL>) -> tensor<?x64xf32>
  // BF16: llm.weight {{.*}} : tensor<64x64x!llm.quantized<nf4, group 64, scale bf16>>
  // F16: llm.weight {{.*}} : tensor<64x64x!llm.quantized<nf4, group 64, scale f16>>
  // F32: llm.weight {{.*}} : tensor<64x64x!llm.quantized<nf4, group 64, scale f32>>
  %a = llm.weight [#llm.quantized_part<rows = 64, codes = #codes4, scales = #scales>] : tensor<64x64x!llm.quantized<nf4, group 64, scale f32>>
  // Scales of large codes may be too small for fp16.
  // BF16: llm.weight {{.*}} : tensor<64x64x!llm.quantized<e4m3, group 64, scale bf16>>
  // F16: llm.weight {{.*}} : tensor<64x64x!llm.quantized<e4m3, group 64, scale f32>>
  // F32: llm.weight {{.*}} : tensor<64x64x!llm.quantized<e4m3, group 64, scale f32>>
  %b = llm.weight [#llm.quantized_part<rows = 64, codes = #codes8, scales = #scales>] : tensor<64x64x!llm.quantized<e4m3, group 64, scale f32>>
  %y = llm.linear %h, %a : (tensor<?x64xf32>, tensor<64x64x!llm.quantized<nf4, group 64, scale f32>>) -> tensor<?x64xf32>
  %z = llm.linear %h, %b : (tensor<?x64xf32>, tensor<64x64x!llm.quantized<e4m3, group 64, scale f32>>) -> tensor<?x64xf32>
  return %y, %z : tensor<?x64xf32>, tensor<?x64xf32>
}
}
