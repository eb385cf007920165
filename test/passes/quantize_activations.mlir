// quantize-activations: one int8 copy of an input for all projections on integer codes that share it, where the target's row says so and it is cheaper;
// lowered to a launch of its own, whose three parts the projections read.
// RUN: llmc-opt %s --quantize-activations | FileCheck %s
// RUN: llmc-opt %s --quantize-activations --select-kernels --lower-to-exec | FileCheck %s --check-prefix=EXEC
// RUN: llmc-opt %s --quantize-activations --fuse-epilogues | FileCheck %s --check-prefix=FUSED
// RUN: llmc-opt %s --quantize-activations --fuse-epilogues --select-kernels --lower-to-exec | FileCheck %s --check-prefix=EXECFUSED
// RUN: sed 's/x86-64-v4-bf16/sm_70/' %s | llmc-opt --quantize-activations | FileCheck %s --check-prefix=NONE
// RUN: sed 's/"auto"/"f32"/' %s | llmc-opt --quantize-activations | FileCheck %s --check-prefix=NONE
// NONE-NOT: int8_rows

#a = #llm.packed<key = "a.qweight", wordBytes = 4, bits = 4, unitValues = 8, unitWords = 1, wordStride = 1024, lineStride = 1>
#as = #llm.scales<key = "a.scales", type = f16, rowBlock = 1, rowStride = 1, groupStride = 1024>
#b = #llm.packed<key = "b.qweight", wordBytes = 4, bits = 8, unitValues = 4, unitWords = 1, wordStride = 1024, lineStride = 1>

module attributes {llm.target = "x86-64-v4-bf16", llm.activations = "auto"} {
// CHECK-LABEL: func.func @forward_t1_s1_l1
// CHECK-DAG: %[[X4:.*]] = llm.quantize_rows %arg0 : (tensor<?x2048xf32>) -> tensor<?x2048x!llm.int8_rows<group 128, bits 4>>
// CHECK-DAG: %[[X8:.*]] = llm.quantize_rows %arg0 : (tensor<?x2048xf32>) -> tensor<?x2048x!llm.int8_rows<group 128, bits 8>>
// Two projections share the codes; other widths of codes need another order; groups of 48 and tables of values keep float32.
// CHECK: llm.linear %[[X4]], %{{.*}} : (tensor<?x2048x!llm.int8_rows<group 128, bits 4>>, tensor<1024x2048x!llm.quantized<u4, group 128, scale f16>>)
// CHECK: llm.linear %[[X4]]
// CHECK: llm.linear %[[X8]]
// CHECK: llm.linear %arg0, %{{.*}} : (tensor<?x2048xf32>, tensor<1024x2048x!llm.quantized<u4, group 48, scale f16>>)
// CHECK: llm.linear %arg0, %{{.*}} : (tensor<?x2048xf32>, tensor<1024x2048x!llm.quantized<nf4, group 64, scale f16>>)
// The sections of one row: codes, 16 scales and 64 sums.
// EXEC: exec.launch @quantize_rows_row grid [1, 1, 1] (read %counts, read %tokens, write %[[C:[0-9]+]], write %[[C]] + 2048, write %[[C]] + 2112, 0, 2048, 0, 128, 4)
// EXEC: exec.launch @linear_quantized_int8_{{.*}}__c_U4__w_f16 grid {{.*}} (read %counts, null, read %{{.*}}, read %{{.*}}, null, null, write %{{.*}}, 0, 1024, 2048, 128, 8, 0, read %[[C]], read %[[C]] + 2048, read %[[C]] + 2112, 128)
// EXEC: exec.launch @linear_quantized_{{.*}}__c_Nf4__w_f16__x_float grid {{.*}} 64, 8, 0, null, null, null, 0)
func.func @forward_t1_s1_l1(%x: tensor<?x2048xf32>) -> tensor<?x1024xf32> attributes {llm.bucket = array<i64: 1, 1, 1>} {
  %wa = llm.weight [#llm.quantized_part<rows = 1024, codes = #a, scales = #as>] : tensor<1024x2048x!llm.quantized<u4, group 128, scale f16>>
  %wb = llm.weight [#llm.quantized_part<rows = 1024, codes = #b, scales = #as>] : tensor<1024x2048x!llm.quantized<u8, group 64, scale f16>>
  %wc = llm.weight [#llm.quantized_part<rows = 1024, codes = #a, scales = #as>] : tensor<1024x2048x!llm.quantized<u4, group 48, scale f16>>
  %wd = llm.weight [#llm.quantized_part<rows = 1024, codes = #a, scales = #as>] : tensor<1024x2048x!llm.quantized<nf4, group 64, scale f16>>
  %a = llm.linear %x, %wa : (tensor<?x2048xf32>, tensor<1024x2048x!llm.quantized<u4, group 128, scale f16>>) -> tensor<?x1024xf32>
  %a2 = llm.linear %x, %wa : (tensor<?x2048xf32>, tensor<1024x2048x!llm.quantized<u4, group 128, scale f16>>) -> tensor<?x1024xf32>
  %b = llm.linear %x, %wb : (tensor<?x2048xf32>, tensor<1024x2048x!llm.quantized<u8, group 64, scale f16>>) -> tensor<?x1024xf32>
  %c = llm.linear %x, %wc : (tensor<?x2048xf32>, tensor<1024x2048x!llm.quantized<u4, group 48, scale f16>>) -> tensor<?x1024xf32>
  %d = llm.linear %x, %wd : (tensor<?x2048xf32>, tensor<1024x2048x!llm.quantized<nf4, group 64, scale f16>>) -> tensor<?x1024xf32>
  %s1 = llm.add %a, %a2 : (tensor<?x1024xf32>, tensor<?x1024xf32>) -> tensor<?x1024xf32>
  %s2 = llm.add %b, %c : (tensor<?x1024xf32>, tensor<?x1024xf32>) -> tensor<?x1024xf32>
  %s3 = llm.add %s1, %s2 : (tensor<?x1024xf32>, tensor<?x1024xf32>) -> tensor<?x1024xf32>
  %s4 = llm.add %s3, %d : (tensor<?x1024xf32>, tensor<?x1024xf32>) -> tensor<?x1024xf32>
  return %s4 : tensor<?x1024xf32>
}

// Many rows: in panels, and gate and up take their gate along. 192 columns are groups of 64.
// CHECK-LABEL: func.func @forward_t512_s1_l1
// CHECK: %[[P:.*]] = llm.quantize_rows %arg0 : (tensor<?x192xf32>) -> tensor<?x192x!llm.int8_rows<group 64, bits 4, panels>>
// CHECK: llm.linear %[[P]]
// FUSED-LABEL: func.func @forward_t512_s1_l1
// FUSED: llm.fused_linear "glu" {{.*}} : (tensor<?x192x!llm.int8_rows<group 64, bits 4, panels>>, {{.*}}) -> tensor<?x512xf32>
// EXECFUSED: exec.launch @quantize_rows_panels
// EXECFUSED: exec.launch @linear_int8_glu_blocked__c_U4__w_f16 grid
func.func @forward_t512_s1_l1(%x: tensor<?x192xf32>) -> tensor<?x512xf32> attributes {llm.bucket = array<i64: 512, 1, 1>} {
  %w = llm.weight [#llm.quantized_part<rows = 1024, codes = #a, scales = #as>] : tensor<1024x192x!llm.quantized<u4, group 32, scale f16>>
  %y = llm.linear %x, %w : (tensor<?x192xf32>, tensor<1024x192x!llm.quantized<u4, group 32, scale f16>>) -> tensor<?x1024xf32>
  %gate = llm.slice %y at 0 : (tensor<?x1024xf32>) -> tensor<?x512xf32>
  %up = llm.slice %y at 512 : (tensor<?x1024xf32>) -> tensor<?x512xf32>
  %g = llm.glu %gate, %up : (tensor<?x512xf32>, tensor<?x512xf32>) -> tensor<?x512xf32>
  return %g : tensor<?x512xf32>
}
}
