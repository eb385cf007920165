// dequantize-weights: in buckets of many tokens a quantized weight becomes dense before its product; not in those of few, whose kernels read
// codes, nor where the input is float32. Columns in another order stay so.
// RUN: sed 's/TARGET/sm_80/' %s | llmc-opt --dequantize-weights | FileCheck %s --check-prefixes=CHECK,DENSE
// RUN: sed 's/TARGET/sm_90/' %s | llmc-opt --dequantize-weights | FileCheck %s --check-prefixes=CHECK,DENSE
// One buffer for the weights of a program, one after the other; a kernel that loads its weights early waits for them.
// RUN: sed 's/TARGET/sm_90/' %s | llmc-opt --dequantize-weights --fuse-epilogues --select-kernels --lower-to-exec --schedule --plan-memory --verify-exec | FileCheck %s --check-prefix=LOWERED
// LOWERED-LABEL: exec.program @program_forward_many
// LOWERED: %[[D:.*]] = exec.buffer "dequantized weight" 100663296
// LOWERED: exec.launch @dequantize_fragments__c_U4__w_bf16__x_bf16 {{.*}} write %[[D]]
// LOWERED: exec.launch @dequantize_fragments__c_U4__w_bf16__x_bf16 {{.*}} write %[[D]]
// LOWERED-NOT: programmatic
// LOWERED-LABEL: exec.program @program_forward_ordered
// LOWERED: exec.launch @gather_columns_thread__x_bf16
// LOWERED-LABEL: exec.program @program_forward_few

#a = #llm.packed<key = "a", wordBytes = 4, bits = 4, unitValues = 8, unitWords = 1, wordStride = 12288, lineStride = 1>
#s = #llm.scales<key = "s", type = bf16, rowBlock = 1, rowStride = 1, groupStride = 12288>

module attributes {llm.target = "TARGET"} {

// CHECK-LABEL: func.func @forward_many
func.func @forward_many(%x: tensor<?x4096xbf16>, %f: tensor<?x4096xf32>, %r: tensor<?xi32>)
    -> (tensor<?x12288xf32>, tensor<?x4096xf32>) attributes {llm.bucket = array<i64: 2048, 1, 1>} {
  %a = llm.weight [#llm.part<"a" rows 0 to 12288 cols 0 to 4096>] : tensor<12288x4096x!llm.quantized<u4, group 128, scale bf16, zeros>>
  %b = llm.weight [#llm.part<"b" rows 0 to 4096 cols 0 to 4096>] : tensor<4096x4096x!llm.quantized<u4, group 128, scale bf16, zeros>>
  // DENSE: %[[A:.*]] = llm.dequantize %{{.*}} -> tensor<12288x4096xbf16>
  // DENSE: llm.linear %{{.*}}, %[[A]]
  %y = llm.linear %x, %a : (tensor<?x4096xbf16>, tensor<12288x4096x!llm.quantized<u4, group 128, scale bf16, zeros>>) -> tensor<?x12288xf32>
  // DENSE: %[[B:.*]] = llm.dequantize %{{.*}} -> tensor<4096x4096xbf16>
  // DENSE: llm.linear %{{.*}}, %[[B]]
  %z = llm.linear %x, %b : (tensor<?x4096xbf16>, tensor<4096x4096x!llm.quantized<u4, group 128, scale bf16, zeros>>) -> tensor<?x4096xf32>
  return %y, %z : tensor<?x12288xf32>, tensor<?x4096xf32>
}

// CHECK-LABEL: func.func @forward_ordered
func.func @forward_ordered(%x: tensor<?x4096xbf16>, %f: tensor<?x4096xf32>, %r: tensor<?xi32>)
    -> (tensor<?x12288xf32>, tensor<?x4096xf32>) attributes {llm.bucket = array<i64: 2048, 1, 1>} {
  %g = llm.weight [#llm.part<"g" rows 0 to 4096 cols 0 to 1>] : tensor<4096xi32>
  %a = llm.weight [#llm.quantized_part<rows = 12288, codes = #a, scales = #s, groupOf = "g">]
      : tensor<12288x4096x!llm.quantized<u4, group 128, scale bf16, ordered>>
  // DENSE: %[[X:.*]] = llm.gather_columns
  // DENSE: %[[A:.*]] = llm.dequantize %{{.*}} -> tensor<12288x4096xbf16>
  // DENSE: llm.linear %[[X]], %[[A]]
  %xs = llm.gather_columns %x by %g {group = 128 : i64} : (tensor<?x4096xbf16>, tensor<4096xi32>) -> tensor<?x4096xbf16>
  %y = llm.linear %xs, %a : (tensor<?x4096xbf16>, tensor<12288x4096x!llm.quantized<u4, group 128, scale bf16, ordered>>) -> tensor<?x12288xf32>
  return %y, %f : tensor<?x12288xf32>, tensor<?x4096xf32>
}

// CHECK-LABEL: func.func @forward_few
// CHECK-NOT: llm.dequantize
func.func @forward_few(%x: tensor<?x4096xbf16>, %f: tensor<?x4096xf32>, %r: tensor<?xi32>)
    -> (tensor<?x12288xf32>, tensor<?x4096xf32>) attributes {llm.bucket = array<i64: 4, 4, 4>} {
  %a = llm.weight [#llm.part<"a" rows 0 to 12288 cols 0 to 4096>] : tensor<12288x4096x!llm.quantized<u4, group 128, scale bf16, zeros>>
  %y = llm.linear %x, %a : (tensor<?x4096xbf16>, tensor<12288x4096x!llm.quantized<u4, group 128, scale bf16, zeros>>) -> tensor<?x12288xf32>
  return %y, %f : tensor<?x12288xf32>, tensor<?x4096xf32>
}
}
