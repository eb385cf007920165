// panel-operands: producers write what AMX layers read in panels, in buckets of many tokens; quantized layers, too, and then the gate joins them.
// RUN: llmc-opt %s --panel-operands | FileCheck %s
// RUN: llmc-opt %s --panel-operands --fuse-epilogues --select-kernels --lower-to-exec | FileCheck %s --check-prefix=EXEC
// RUN: sed 's/x86-64-amx/x86-64-v4-bf16/' %s | llmc-opt --panel-operands | FileCheck %s --check-prefix=NONE
// RUN: sed 's/"auto"/"f32"/' %s | llmc-opt --panel-operands | FileCheck %s --check-prefix=NONE
// NONE-NOT: bf16_panels

#gate = #llm.packed<key = "gate.qweight", wordBytes = 4, bits = 4, unitValues = 8, unitWords = 1, wordStride = 1024, lineStride = 1>
#scales = #llm.scales<key = "gate.scales", type = bf16, rowBlock = 1, rowStride = 1, groupStride = 1024>

module attributes {llm.target = "x86-64-amx", llm.activations = "auto"} {
// CHECK-LABEL: func.func @forward_t100_s1_l1
// CHECK: llm.rms_norm {{.*}} -> tensor<?x256x!llm.bf16_panels>
// CHECK: llm.linear {{.*}} : (tensor<?x256x!llm.bf16_panels>, tensor<1024x256x!llm.quantized<u4, group 32, scale bf16>>)
// CHECK: llm.glu {{.*}} -> tensor<?x512x!llm.bf16_panels>
// CHECK: llm.linear {{.*}} : (tensor<?x512x!llm.bf16_panels>, tensor<256x512xbf16>)
// An input that something else reads, too, stays as it is.
// CHECK: llm.rms_norm {{.*}} -> tensor<?x256xf32>
// Room for whole panels of 32 rows.
// EXEC: exec.buffer "norm" 65536
// EXEC: exec.launch @rms_norm_row__w_bf16__x_bf16_panels
// EXEC: exec.buffer "glu" 131072
// EXEC: exec.launch @quantized_glu_amx_panels_rows64__c_U4__w_bf16__x_bf16_panels
// EXEC: exec.launch @linear_amx_panels_rows64__w_bf16__x_bf16_panels
func.func @forward_t100_s1_l1(%x: tensor<?x256xf32>) -> tensor<?x256xf32> attributes {llm.bucket = array<i64: 100, 1, 1>} {
  %nw = llm.weight [#llm.part<"norm.weight" rows 0 to 256 cols 0 to 1>] : tensor<256xbf16>
  %gw = llm.weight [#llm.quantized_part<rows = 1024, codes = #gate, scales = #scales>] : tensor<1024x256x!llm.quantized<u4, group 32, scale bf16>>
  %dw = llm.weight [#llm.part<"down.weight" rows 0 to 256 cols 0 to 512>] : tensor<256x512xbf16>
  %n = llm.rms_norm %x, %nw {eps = 1.0e-5 : f64} : (tensor<?x256xf32>, tensor<256xbf16>) -> tensor<?x256xf32> loc("norm")
  %gu = llm.linear %n, %gw : (tensor<?x256xf32>, tensor<1024x256x!llm.quantized<u4, group 32, scale bf16>>) -> tensor<?x1024xf32>
  %g = llm.slice %gu at 0 : (tensor<?x1024xf32>) -> tensor<?x512xf32>
  %u = llm.slice %gu at 512 : (tensor<?x1024xf32>) -> tensor<?x512xf32>
  %a = llm.glu %g, %u : (tensor<?x512xf32>, tensor<?x512xf32>) -> tensor<?x512xbf16> loc("glu")
  %d = llm.linear %a, %dw : (tensor<?x512xbf16>, tensor<256x512xbf16>) -> tensor<?x256xf32>
  %m = llm.rms_norm %d, %nw {eps = 1.0e-5 : f64} : (tensor<?x256xf32>, tensor<256xbf16>) -> tensor<?x256xf32>
  %s = llm.add %m, %x : (tensor<?x256xf32>, tensor<?x256xf32>) -> tensor<?x256xf32>
  return %s : tensor<?x256xf32>
}
}
