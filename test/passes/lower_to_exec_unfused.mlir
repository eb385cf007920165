// The lowering of what remains where fusions are disabled.
// RUN: llmc-opt %s --select-kernels --lower-to-exec | FileCheck %s

module attributes {llm.target = "x86-64-v3", llm.block_tokens = 16 : i64, llm.max_batch = 8 : i64, llm.max_context = 512 : i64,
                   llm.max_logits = 16 : i64, llm.vocab = 32 : i64} {
// CHECK-LABEL: exec.program @program_forward_t4
func.func @forward_t4(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %rows: tensor<?xi32>)
    -> (tensor<?x8xf32>, tensor<?x8xf32>) attributes {llm.bucket = array<i64: 4, 4, 4>} {
  %ids = llm.resolve_ids %tokens : tensor<?xi32> -> tensor<?xi32>
  %table = llm.weight [#llm.part<"embed" rows 0 to 32 cols 0 to 16>] : tensor<32x16xf32>
  // CHECK: exec.launch @embed_row__w_float {{.*}} write %[[X:[0-9]+]],
  %x = llm.embed %ids, %table : (tensor<?xi32>, tensor<32x16xf32>) -> tensor<?x16xf32>
  %q = llm.slice %x at 0 : (tensor<?x16xf32>) -> tensor<?x8xf32>
  %k = llm.slice %x at 8 : (tensor<?x16xf32>) -> tensor<?x8xf32>
  // A norm per head of a view: two groups of four columns, rows 16 apart.
  %hn = llm.weight [#llm.part<"hn" rows 0 to 4 cols 0 to 1>] : tensor<4xf32>
  // CHECK: exec.launch @rms_norm_row__w_float__x_float {{.*}} (read %counts, read %[[X]] + 32, read %hn, write %[[KN:[0-9]+]], 0, 4, 2, 16, 1.000000e-05)
  %kn = llm.rms_norm %k, %hn {eps = 1.0e-5 : f64} : (tensor<?x8xf32>, tensor<4xf32>) -> tensor<?x8xf32>
  // CHECK: exec.launch @rope_table_row
  %t = llm.rope_table %positions {inv_freq = array<f32: 1.0>, factor = 1.0 : f64} : (tensor<?xi32>) -> tensor<?x2xf32>
  // Partial rotation: two of four dims.
  // CHECK: exec.launch @rope_head grid [2, 4, 1] (read %counts, read %[[X]], read %[[T:[0-9]+]], write %[[QR:[0-9]+]], 2, 4, 1, 16)
  %qr = llm.rope %q, %t {head_dim = 4 : i64} : (tensor<?x8xf32>, tensor<?x2xf32>) -> tensor<?x8xf32>
  // CHECK: exec.launch @rope_head grid [2, 4, 1] (read %counts, read %[[KN]], read %[[T]], write %[[KR:[0-9]+]], 2, 4, 1, 8)
  %kr = llm.rope %kn, %t {head_dim = 4 : i64} : (tensor<?x8xf32>, tensor<?x2xf32>) -> tensor<?x8xf32>
  %c0 = llm.kv_cache {layer = 0 : i64, window = 0 : i64, kv_heads = 2 : i64, head_dim = 4 : i64, element = f32}
  // CHECK: exec.launch @kv_write_head__kv_float grid [2, 4, 1] (read %counts, read %[[KR]], read %[[X]] + 32, read %token_seq, read %seq_slot, read %kv_index, read_write %kv0, read %block_table, 32, 1024, 16, 2, 4, 8, 16)
  %c1 = llm.kv_write %kr, %k into %c0 : tensor<?x8xf32>, tensor<?x8xf32>
  // CHECK: exec.launch @attention_split_decode__x_float__kv_float
  %a = llm.attention %qr, %c1 {heads = 2 : i64, kv_heads = 2 : i64, head_dim = 4 : i64, window = 0 : i64, scale = 0.5 : f64, kv_element = f32}
      : (tensor<?x8xf32>) -> tensor<?x8xf32>
  // CHECK: exec.launch @silu_tile grid [1, 4, 1] (read %counts, read %[[A:[0-9]+]], null, write %[[S:[0-9]+]], 0, 8, 8, 0)
  %s = llm.silu %a : (tensor<?x8xf32>) -> tensor<?x8xf32>
  // CHECK: exec.launch @mul_tile__x_float grid [1, 4, 1] (read %counts, read %[[S]], read %[[X]] + 32, write %[[M:[0-9]+]], 0, 8, 8, 16)
  %m = llm.mul %s, %k : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  // CHECK: exec.launch @add_tile grid [1, 4, 1] (read %counts, read %[[M]], read %[[A]], write %{{[0-9]+}}, 0, 8, 8, 8)
  %r = llm.add %m, %a : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  // CHECK: exec.launch @glu_tile__x_float grid [1, 4, 1] (read %counts, read %{{[0-9]+}}, read %[[X]] + 32, write %{{[0-9]+}}, 8, 8, 16)
  %g = llm.glu %r, %k : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  %w = llm.weight [#llm.part<"w" rows 0 to 8 cols 0 to 8>] : tensor<8x8xf32>
  %b = llm.weight [#llm.part<"b" rows 0 to 8 cols 0 to 1>] : tensor<8xf32>
  // CHECK: exec.launch @linear_{{.*}}__w_float__x_float {{.*}} (read %counts, read %{{[0-9]+}}, read %w, read %b, write %{{[0-9]+}}, null, null, 0, 8, 8, 1, null, null)
  %o = llm.linear %g, %w bias %b : (tensor<?x8xf32>, tensor<8x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  %l = llm.gather_rows %o, %rows : (tensor<?x8xf32>, tensor<?xi32>) -> tensor<?x8xf32>
  return %l, %l : tensor<?x8xf32>, tensor<?x8xf32>
}
}
