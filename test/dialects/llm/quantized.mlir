// Quantized weights: the type, the recipe of their parts, and the ops that take them.
// RUN: llmc-opt %s | FileCheck %s
// RUN: llmc-opt %s | llmc-opt | FileCheck %s
// RUN: llmc-opt --mlir-print-op-generic %s | llmc-opt | FileCheck %s

#codes = #llm.packed<key = "q.qweight", wordBytes = 4, bits = 4, unitValues = 8, unitWords = 1, wordStride = 16, lineStride = 1>
#zeros = #llm.packed<key = "q.qzeros", wordBytes = 4, bits = 4, unitValues = 8, unitWords = 1, wordStride = 1, lineStride = 2, add = 1, byColumn = true>
#scales = #llm.scales<key = "q.scales", type = f16, rowBlock = 1, rowStride = 1, groupStride = 16>
#absmax = #llm.scales<key = "n.absmax", type = i8, rowBlock = 1, rowStride = 1, groupStride = 1, map = "n.nested_quant_map", mapScales = "n.nested_absmax", mapBlock = 256, mapOffset = 5.0e-01 : f64>

// CHECK-LABEL: func.func @forward
func.func @forward(%x: tensor<?x64xf32>) -> tensor<?x16xf32> {
  // CHECK: llm.weight [#llm.quantized_part<rows = 16, codes = <key = "q.qweight", {{.*}}>, zeros = <{{.*}}add = 1, byColumn = true>, scales = <{{.*}}>, groupOf = "q.g_idx">] : tensor<16x64x!llm.quantized<u4, group 32, scale f16, zeros, ordered>>
  %w = llm.weight [#llm.quantized_part<rows = 16, codes = #codes, zeros = #zeros, scales = #scales, groupOf = "q.g_idx">]
      : tensor<16x64x!llm.quantized<u4, group 32, scale f16, zeros, ordered>>
  // CHECK: %[[G:.*]] = llm.weight [#llm.part<"q.g_idx" rows 0 to 64 cols 0 to 1>] : tensor<64xi32>
  %g = llm.weight [#llm.part<"q.g_idx" rows 0 to 64 cols 0 to 1>] : tensor<64xi32>
  // CHECK: %[[X:.*]] = llm.gather_columns %{{.*}} by %[[G]] {group = 32 : i64} : (tensor<?x64xf32>, tensor<64xi32>) -> tensor<?x64xf32>
  %xs = llm.gather_columns %x by %g {group = 32 : i64} : (tensor<?x64xf32>, tensor<64xi32>) -> tensor<?x64xf32>
  // CHECK: llm.linear %[[X]], %{{.*}} : (tensor<?x64xf32>, tensor<16x64x!llm.quantized<u4, group 32, scale f16, zeros, ordered>>) -> tensor<?x16xf32>
  %y = llm.linear %xs, %w : (tensor<?x64xf32>, tensor<16x64x!llm.quantized<u4, group 32, scale f16, zeros, ordered>>) -> tensor<?x16xf32>
  // CHECK: : tensor<16x64x!llm.quantized<nf4, group 64, scale f32>>
  %n = llm.weight [#llm.quantized_part<rows = 16, codes = #codes, scales = #absmax>] : tensor<16x64x!llm.quantized<nf4, group 64, scale f32>>
  return %y : tensor<?x16xf32>
}

// CHECK: !llm.quantized<u2, group 16, scale bf16>, !llm.quantized<u3, group 64, scale f16, zeros>, !llm.quantized<u8, group 1, scale f32>
// CHECK-SAME: !llm.quantized<e4m3, group 128, scale f32>, !llm.quantized<fp4, group 64, scale f16, ordered>
func.func private @codes(!llm.quantized<u2, group 16, scale bf16>, !llm.quantized<u3, group 64, scale f16, zeros>, !llm.quantized<u8, group 1, scale f32>,
                         !llm.quantized<e4m3, group 128, scale f32>, !llm.quantized<fp4, group 64, scale f16, ordered>)

// CHECK-LABEL: func.func @int8_rows
func.func @int8_rows(%x: tensor<?x64xf32>) -> tensor<?x16xf32> {
  // CHECK: %[[X:.*]] = llm.quantize_rows %{{.*}} : (tensor<?x64xf32>) -> tensor<?x64x!llm.int8_rows<group 32, bits 4>>
  %r = llm.quantize_rows %x : (tensor<?x64xf32>) -> tensor<?x64x!llm.int8_rows<group 32, bits 4>>
  %w = llm.weight [#llm.quantized_part<rows = 16, codes = #codes, scales = #absmax>] : tensor<16x64x!llm.quantized<u4, group 64, scale f32>>
  // CHECK: llm.linear %[[X]], %{{.*}} : (tensor<?x64x!llm.int8_rows<group 32, bits 4>>, tensor<16x64x!llm.quantized<u4, group 64, scale f32>>) -> tensor<?x16xf32>
  %y = llm.linear %r, %w : (tensor<?x64x!llm.int8_rows<group 32, bits 4>>, tensor<16x64x!llm.quantized<u4, group 64, scale f32>>) -> tensor<?x16xf32>
  return %y : tensor<?x16xf32>
}
