// order-glu-rows: what an ordered down projection gathers is made in its order by sorting the rows of the gate and up projections.
// RUN: llmc-opt %s --order-glu-rows | FileCheck %s
// RUN: llmc-opt %s --order-glu-rows | llmc-opt | FileCheck %s
// RUN: llmc-opt %s --order-glu-rows --select-kernels --lower-to-exec | FileCheck %s --check-prefix=LOWERED
// Each source module is repacked with both orders.
// LOWERED: exec.program @program_init
// LOWERED: exec.launch @group_order_serial {{.*}} (read %h.g_idx, write %[[H:[^,]*]], 64, 32)
// LOWERED: exec.launch @group_order_serial {{.*}} (read %d.g_idx, write %[[D:[^,]*]], 96, 32)
// LOWERED: exec.launch @repack_block__w_f16 {{.*}} (read %gate, {{.*}} read %[[H]], read %[[D]], write
// LOWERED: exec.launch @repack_block__w_f16 {{.*}} (read %up, {{.*}} read %[[H]], read %[[D]], write

!q = !llm.quantized<u4, group 32, scale f16, ordered>
#gate = #llm.packed<key = "gate", wordBytes = 4, bits = 4, unitValues = 8, unitWords = 1, wordStride = 96, lineStride = 1>
#up = #llm.packed<key = "up", wordBytes = 4, bits = 4, unitValues = 8, unitWords = 1, wordStride = 96, lineStride = 1>
#down = #llm.packed<key = "down", wordBytes = 4, bits = 4, unitValues = 8, unitWords = 1, wordStride = 64, lineStride = 1>
#wide = #llm.scales<key = "wide", type = f16, rowBlock = 1, rowStride = 1, groupStride = 96>
#narrow = #llm.scales<key = "narrow", type = f16, rowBlock = 1, rowStride = 1, groupStride = 64>

module attributes {llm.target = "x86-64-v3"} {

// CHECK-LABEL: func.func @forward_t4_s1_l1
// CHECK: llm.weight [#llm.quantized_part<rows = 96, codes = <key = "gate"{{.*}}groupOf = "h.g_idx", rowsBy = "d.g_idx", rowGroup = 32>, #llm.quantized_part<rows = 96, codes = <key = "up"{{.*}}groupOf = "h.g_idx", rowsBy = "d.g_idx", rowGroup = 32>]
// CHECK: %[[A:.*]] = llm.glu
// CHECK-NOT: llm.gather_columns
// CHECK: llm.linear %[[A]]
func.func @forward_t4_s1_l1(%x: tensor<?x64xf32>) -> tensor<?x64xf32> attributes {llm.bucket = array<i64: 4, 1, 1>} {
  %h = llm.weight [#llm.part<"h.g_idx" rows 0 to 64 cols 0 to 1>] : tensor<64xi32>
  %d = llm.weight [#llm.part<"d.g_idx" rows 0 to 96 cols 0 to 1>] : tensor<96xi32>
  %wgu = llm.weight [#llm.quantized_part<rows = 96, codes = #gate, scales = #wide, groupOf = "h.g_idx">,
                     #llm.quantized_part<rows = 96, codes = #up, scales = #wide, groupOf = "h.g_idx">] : tensor<192x64x!q>
  %wd = llm.weight [#llm.quantized_part<rows = 64, codes = #down, scales = #narrow, groupOf = "d.g_idx">] : tensor<64x96x!q>
  %xs = llm.gather_columns %x by %h {group = 32 : i64} : (tensor<?x64xf32>, tensor<64xi32>) -> tensor<?x64xf32>
  %gu = llm.linear %xs, %wgu : (tensor<?x64xf32>, tensor<192x64x!q>) -> tensor<?x192xf32>
  %gate = llm.slice %gu at 0 : (tensor<?x192xf32>) -> tensor<?x96xf32>
  %up = llm.slice %gu at 96 : (tensor<?x192xf32>) -> tensor<?x96xf32>
  %a = llm.glu %gate, %up : (tensor<?x96xf32>, tensor<?x96xf32>) -> tensor<?x96xf32>
  %as = llm.gather_columns %a by %d {group = 32 : i64} : (tensor<?x96xf32>, tensor<96xi32>) -> tensor<?x96xf32>
  %y = llm.linear %as, %wd : (tensor<?x96xf32>, tensor<64x96x!q>) -> tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// Not: what something else reads besides, and a projection with a bias.
// CHECK-LABEL: func.func @others
// CHECK-NOT: rowsBy
// CHECK: llm.gather_columns
// CHECK-NOT: rowsBy
// CHECK: llm.gather_columns
func.func @others(%x: tensor<?x64xf32>) -> (tensor<?x96xf32>, tensor<?x96xf32>, tensor<?x96xf32>) {
  %d = llm.weight [#llm.part<"d.g_idx" rows 0 to 96 cols 0 to 1>] : tensor<96xi32>
  %wg = llm.weight [#llm.quantized_part<rows = 96, codes = #gate, scales = #wide, groupOf = "h.g_idx">] : tensor<96x64x!q>
  %wu = llm.weight [#llm.quantized_part<rows = 96, codes = #up, scales = #wide, groupOf = "h.g_idx">] : tensor<96x64x!q>
  %b = llm.weight [#llm.part<"b" rows 0 to 96 cols 0 to 1>] : tensor<96xf16>
  %gate = llm.linear %x, %wg : (tensor<?x64xf32>, tensor<96x64x!q>) -> tensor<?x96xf32>
  %up = llm.linear %x, %wu bias %b : (tensor<?x64xf32>, tensor<96x64x!q>, tensor<96xf16>) -> tensor<?x96xf32>
  %a = llm.glu %gate, %up : (tensor<?x96xf32>, tensor<?x96xf32>) -> tensor<?x96xf32>
  %as = llm.gather_columns %a by %d {group = 32 : i64} : (tensor<?x96xf32>, tensor<96xi32>) -> tensor<?x96xf32>
  %c = llm.glu %gate, %gate : (tensor<?x96xf32>, tensor<?x96xf32>) -> tensor<?x96xf32>
  %cs = llm.gather_columns %c by %d {group = 32 : i64} : (tensor<?x96xf32>, tensor<96xi32>) -> tensor<?x96xf32>
  return %as, %c, %cs : tensor<?x96xf32>, tensor<?x96xf32>, tensor<?x96xf32>
}
}
