// lower-to-exec of quantized weights: one buffer of codes, scales and zeros, filled by the program @init; the columns of an ordered weight's input
// are gathered once.
// RUN: llmc-opt %s --select-kernels --lower-to-exec | FileCheck %s
// RUN: llmc-opt %s --select-kernels --lower-to-exec | llmc-opt | FileCheck %s
// RUN: llmc-opt %s --select-kernels --lower-to-exec | FileCheck %s --check-prefix=WEIGHTS
// What reads an order waits for it; two modules of one weight, too, for they write one buffer.
// RUN: llmc-opt %s --select-kernels --lower-to-exec --schedule --plan-memory --verify-exec | FileCheck %s --check-prefix=ORDER
// RUN: sed 's/x86-64-v3/sm_61/' %s | llmc-opt --select-kernels --lower-to-exec | FileCheck %s --check-prefix=CUDA
// CUDA: exec.weight @"a.qweight+1"{{.*}}bytes = 2048 : i64, layout = "quantized"

#a = #llm.packed<key = "a.qweight", wordBytes = 4, bits = 4, unitValues = 8, unitWords = 1, wordStride = 24, lineStride = 1>
#b = #llm.packed<key = "b.qweight", wordBytes = 4, bits = 4, unitValues = 8, unitWords = 1, wordStride = 24, lineStride = 1>
#az = #llm.packed<key = "a.qzeros", wordBytes = 4, bits = 4, unitValues = 8, unitWords = 1, wordStride = 1, lineStride = 3, add = 1, byColumn = true>
#bz = #llm.packed<key = "b.qzeros", wordBytes = 4, bits = 4, unitValues = 8, unitWords = 1, wordStride = 1, lineStride = 3, add = 1, byColumn = true>
#as = #llm.scales<key = "a.scales", type = f16, rowBlock = 1, rowStride = 1, groupStride = 24>
#bs = #llm.scales<key = "b.scales", type = f16, rowBlock = 1, rowStride = 1, groupStride = 24>

module attributes {llm.target = "x86-64-v3"} {
// CHECK-LABEL: exec.program @program_forward
// CHECK: exec.launch @gather_columns_row grid [1, 4, 1] (read %counts, read %tokens, read %a.g_idx, write %[[X:.*]], 0, 64, 0)
// CHECK: exec.launch @linear_quantized_{{.*}}__c_U4__w_f16__x_float grid {{.*}} (read %counts, read %[[X]], read %[[Q:.*]], read %[[Q]] + 1536, read %[[Q]] + 1792, null, write %logits, 0, 48, 64, 32, 8, 0, null, null, null, 0)
// CHECK: exec.program @program_init "init"
// CHECK: exec.launch @group_order_serial grid [1, 1, 1] (read %a.g_idx, write %[[O:.*]], 64, 32)
// The second module begins at row 24, inside of the second block of 16 rows.
// CHECK: exec.launch @repack_block__w_f16 grid [1, 2, 1] (read %a.qweight, 4, 4, 8, 1, 24, 1, 0, 0, 0, read %a.qzeros, 4, 4, 8, 1, 1, 3, 0, 1, 1, read %a.scales, 1, 1, 1, 24, 1.000000e+00, null, null, 1, 0.000000e+00, read %[[O]], null, write %[[W:.*]], write %[[W]] + 1536, write %[[W]] + 1792, 24, 64, 32, 4, 0, 16)
// CHECK: exec.launch @repack_block__w_f16 grid [1, 2, 1] (read %b.qweight, {{.*}} write %{{.*}} + 1792, 24, 64, 32, 4, 24, 16)
// WEIGHTS-DAG: exec.weight @"a.qweight+1"{{.*}}48 x 64 x !llm.quantized<u4, group 32, scale f16, zeros, ordered> {bytes = 2048 : i64, layout = "quantized"}
// WEIGHTS-DAG: exec.weight @a.g_idx {{.*}} 64 x 1 x i32 {bytes = 256 : i64, layout = "order"}
// ORDER: exec.launch @group_order_serial {{.*}} after [] {
// ORDER: exec.launch @repack_block__w_f16 {{.*}} after [0] {
// ORDER: exec.launch @repack_block__w_f16 {{.*}} after [1] {
func.func @forward_t4_s1_l1(%x: tensor<?x64xf32>) -> tensor<?x48xf32> attributes {llm.bucket = array<i64: 4, 1, 1>} {
  %g = llm.weight [#llm.part<"a.g_idx" rows 0 to 64 cols 0 to 1>] : tensor<64xi32>
  %w = llm.weight [#llm.quantized_part<rows = 24, codes = #a, zeros = #az, scales = #as, groupOf = "a.g_idx">,
                   #llm.quantized_part<rows = 24, codes = #b, zeros = #bz, scales = #bs, groupOf = "a.g_idx">]
      : tensor<48x64x!llm.quantized<u4, group 32, scale f16, zeros, ordered>>
  %xs = llm.gather_columns %x by %g {group = 32 : i64} : (tensor<?x64xf32>, tensor<64xi32>) -> tensor<?x64xf32>
  %y = llm.linear %xs, %w : (tensor<?x64xf32>, tensor<48x64x!llm.quantized<u4, group 32, scale f16, zeros, ordered>>) -> tensor<?x48xf32>
  return %y : tensor<?x48xf32>
}
}
