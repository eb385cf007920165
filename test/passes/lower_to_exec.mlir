// lower-to-exec: bucket functions become programs of launches on buffers; slots follow kernels_templates/abi.h.
// RUN: llmc-opt %s --select-kernels --lower-to-exec | FileCheck %s
// RUN: llmc-opt %s --select-kernels --lower-to-exec | llmc-opt | FileCheck %s
// On CUDA nothing is packed: linear weights keep their rows.
// RUN: sed 's/x86-64-v3/sm_61/' %s | llmc-opt --select-kernels --lower-to-exec | FileCheck %s --check-prefix=CUDA
// CUDA-NOT: interleaved16
// CUDA-NOT: exec.kernel @pack
// RUN: not llmc-opt %s --lower-to-exec 2>&1 | FileCheck %s --check-prefix=UNSELECTED
// UNSELECTED: error: {{.*}}lower-to-exec: no kernel was selected

module attributes {llm.target = "x86-64-v3", llm.block_tokens = 16 : i64, llm.max_batch = 8 : i64, llm.max_context = 512 : i64,
                   llm.max_logits = 16 : i64, llm.vocab = 32 : i64} {

// CHECK-LABEL: exec.program @program_forward_t16_s8_l16 "forward" tokens 16 seqs 8 logits 16 {
// CHECK-DAG: %kv0 = exec.kv_base 0
// CHECK-DAG: %counts = exec.io "counts"
// CHECK-DAG: %block_table = exec.state "block_table"
func.func @forward_t16_s8_l16(%tokens: tensor<?xi32>, %positions: tensor<?xi32>, %rows: tensor<?xi32>)
    -> (tensor<?x32xf32>, tensor<?x8xf32>) attributes {llm.bucket = array<i64: 16, 8, 16>} {
  // Sixteen ids of four bytes. The grid has a block per sequence.
  // CHECK: %[[IDS:.*]] = exec.buffer "ids" 64
  // CHECK: exec.launch @prepare_serial grid [1, 8, 1] (read %counts, read %tokens, read %query_start, read %seq_slot, read %seq_flags, read %block_updates, read %prev, write %[[IDS]], read_write %block_table, read_write %penalty_counts, 32, 8, 32)
  // CHECK-SAME: layer = "ids", op = "prepare"
  %ids = llm.resolve_ids %tokens : tensor<?xi32> -> tensor<?xi32> loc("ids")
  %table = llm.weight [#llm.part<"embed" rows 0 to 32 cols 0 to 8>] : tensor<32x8xbf16>
  // CHECK: %[[X:.*]] = exec.buffer "x" 512
  // CHECK: exec.launch @embed_row__w_bf16 grid [1, 16, 1] (read %counts, read %[[IDS]], read %embed, write %[[X]], 8, 32)
  // CHECK-SAME: bytes = array<f64: 0.000000e+00, 4.800000e+01, 0.000000e+00, 0.000000e+00, 0.000000e+00>
  %x = llm.embed %ids, %table : (tensor<?xi32>, tensor<32x8xbf16>) -> tensor<?x8xf32> loc("x")
  %nw = llm.weight [#llm.part<"norm" rows 0 to 8 cols 0 to 1>] : tensor<8xbf16>
  // CHECK: exec.launch @rms_norm_row__w_bf16__x_float grid [1, 16, 1] (read %counts, read %[[X]], read %norm, write %[[H:.*]], 0, 8, 1, 8, 1.000000e-05)
  %h = llm.rms_norm %x, %nw {eps = 1.0e-5 : f64} : (tensor<?x8xf32>, tensor<8xbf16>) -> tensor<?x8xf32> loc("h")
  %w = llm.weight [#llm.part<"q" rows 0 to 8 cols 0 to 8>, #llm.part<"k" rows 0 to 4 cols 0 to 8>, #llm.part<"v" rows 0 to 4 cols 0 to 8>] : tensor<16x8xbf16>
  // CHECK: %[[QKV:.*]] = exec.buffer "qkv" 1024
  // CHECK: exec.launch @linear_{{.*}}__w_bf16__x_float grid {{.*}} (read %counts, read %[[H]], read %q{{.*}}, null, write %[[QKV]], null, null, 0, 16, 8, 1, null, null)
  // Weights once per step, activations per token; two operations per weight and token.
  // CHECK-SAME: bytes = array<f64: 2.560000e+02, 9.600000e+01, 0.000000e+00, 0.000000e+00, 0.000000e+00>, flops = array<f64: 0.000000e+00, 2.560000e+02, 0.000000e+00, 0.000000e+00, 0.000000e+00>
  %qkv = llm.linear %h, %w : (tensor<?x8xf32>, tensor<16x8xbf16>) -> tensor<?x16xf32> loc("qkv")
  // Views are offsets into the projection, whose rows are 16 apart.
  %q = llm.slice %qkv at 0 : (tensor<?x16xf32>) -> tensor<?x8xf32>
  %k = llm.slice %qkv at 8 : (tensor<?x16xf32>) -> tensor<?x4xf32>
  %v = llm.slice %qkv at 12 : (tensor<?x16xf32>) -> tensor<?x4xf32>
  // CHECK: exec.launch @rope_table_row grid [1, 16, 1] (read %counts, read %positions, read %constant_0, write %[[T:.*]], 2, 1.000000e+00)
  %t = llm.rope_table %positions {inv_freq = array<f32: 1.0, 0.5>, factor = 1.0 : f64} : (tensor<?xi32>) -> tensor<?x4xf32> loc("t")
  %c0 = llm.kv_cache {layer = 0 : i64, window = 0 : i64, kv_heads = 1 : i64, head_dim = 4 : i64, element = bf16}
  // Block of 16 tokens of one head of four bf16, K and V: 256 bytes. Without norms: null.
  // CHECK: exec.launch @rope_kv_write_head__w_float__kv_bf16 grid [4, 16, 1] (read %counts, read %[[QKV]], read %[[QKV]] + 32, read %[[QKV]] + 48, read %[[T]], null, null, read %token_seq, read %seq_slot, read %kv_index, write %[[QO:.*]], read_write %kv0, read %block_table, 32, 256, 16, 1, 4, 2, 2, 16, 16, 16, 0.000000e+00)
  %qo, %c1 = llm.rope_kv_write %q, %k, %v table %t into %c0 {head_dim = 4 : i64, eps = 0.0 : f64}
      : tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32> -> tensor<?x8xf32> loc("rope")
  // CHECK: exec.launch @attention_lanes__x_float__kv_bf16 grid [2, 1, 1] (read %counts, read %[[QO]], write %[[A:.*]], read %token_seq, read %seq_slot, read %kv_index, read %query_start, read %kv_len, null, read %kv0, read %block_table, 32, 256, 16, 1, 4, 2, 0, 1, 5.000000e-01, null)
  // CHECK-SAME: bytes = array<f64: 0.000000e+00, 6.400000e+01, 0.000000e+00, 0.000000e+00, 1.600000e+01>, flops = array<f64: 0.000000e+00, 0.000000e+00, 0.000000e+00, 0.000000e+00, 3.200000e+01>
  %a = llm.attention %qo, %c1 {heads = 2 : i64, kv_heads = 1 : i64, head_dim = 4 : i64, window = 0 : i64, scale = 0.5 : f64, kv_element = bf16}
      : (tensor<?x8xf32>) -> tensor<?x8xf32> loc("attention")
  // A layer with a window is of another KV group: its block table lies behind that of the first, 8 sequences x 32 blocks x 4 bytes.
  %d0 = llm.kv_cache {layer = 1 : i64, window = 64 : i64, kv_heads = 1 : i64, head_dim = 4 : i64, element = bf16}
  // CHECK: exec.launch @rope_kv_write_head__w_float__kv_bf16 {{.*}} read_write %kv1, read %block_table + 1024, 32, 256,
  %qo2, %d1 = llm.rope_kv_write %a, %k, %v table %t into %d0 {head_dim = 4 : i64, eps = 0.0 : f64}
      : tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32>, tensor<?x4xf32> -> tensor<?x8xf32>
  // CHECK: exec.launch @attention_lanes__x_float__kv_bf16 {{.*}} read %kv1, read %block_table + 1024, 32, 256, 16, 1, 4, 2, 64, 1, 5.000000e-01, null)
  %b = llm.attention %qo2, %d1 {heads = 2 : i64, kv_heads = 1 : i64, head_dim = 4 : i64, window = 64 : i64, scale = 0.5 : f64, kv_element = bf16}
      : (tensor<?x8xf32>) -> tensor<?x8xf32>
  // CHECK: exec.launch @add_rms_norm_row__w_bf16__x_float grid [1, 16, 1] (read %counts, read %[[X]], read %{{.*}}, read %norm, write %[[SUM:.*]], write %{{.*}}, 0, 8, 1.000000e-05)
  %sum, %n = llm.add_rms_norm %x, %b, %nw {eps = 1.0e-5 : f64}
      : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<8xbf16>) -> (tensor<?x8xf32>, tensor<?x8xf32>)
  // CHECK: exec.launch @gather_rows_row grid [1, 16, 1] (read %counts, read %logit_rows, read %[[SUM]], write %[[L:.*]], 8)
  %l = llm.gather_rows %sum, %rows : (tensor<?x8xf32>, tensor<?xi32>) -> tensor<?x8xf32>
  // What the function returns lives in state buffers; rows are counted as logit rows (2).
  // CHECK: exec.launch @rms_norm_row__w_bf16__x_float grid [1, 16, 1] (read %counts, read %[[L]], read %norm, write %hidden, 2, 8, 1, 8, 1.000000e-05)
  %hidden = llm.rms_norm %l, %nw {eps = 1.0e-5 : f64} : (tensor<?x8xf32>, tensor<8xbf16>) -> tensor<?x8xf32>
  // The tied head reads the table in the layout of linear layers: a second buffer of the same source.
  // CHECK: exec.launch @linear_{{.*}}__w_bf16__x_float grid {{.*}} (read %counts, read %hidden, read %embed{{.+}}, null, write %logits, null, null, 2, 32, 8, 1, null, null)
  %logits = llm.linear %hidden, %table : (tensor<?x8xf32>, tensor<32x8xbf16>) -> tensor<?x32xf32>
  return %logits, %hidden : tensor<?x32xf32>, tensor<?x8xf32>
}

// CHECK-DAG: exec.weight @embed [#llm.part<"embed" rows 0 to 32 cols 0 to 8>] : 32 x 8 x bf16 {bytes = 512 : i64, layout = "rows"}
// CHECK-DAG: exec.weight @"embed#1" [#llm.part<"embed" rows 0 to 32 cols 0 to 8>] : 32 x 8 x bf16 {bytes = 512 : i64, init_kernel = @pack_block__w_bf16, layout = "interleaved16"}
// CHECK-DAG: exec.weight @"q+2" {{.*}} : 16 x 8 x bf16 {bytes = 256 : i64, init_kernel = @pack_block__w_bf16, layout = "interleaved16"}
// CHECK-DAG: exec.constant @constant_0 {values = array<f32: 1.000000e+00, 5.000000e-01>}
// CHECK-DAG: exec.kernel @pack_block__w_bf16 "pack<bf16>" from "x86/pack.h"

// CHECK: exec.program @program_sample_l16 "sample" tokens 16 seqs 8 logits 16 {
func.func @sample_l16(%logits: tensor<?x32xf32>) -> tensor<?xi32> attributes {llm.bucket = array<i64: 16, 8, 16>} {
  // CHECK: exec.launch @sample_row grid [1, 16, 1] (read %counts, read %logits, read_write %sample_params, read %bias_pairs, read %mask, read_write %penalty_counts, write %sample_scratch, write %prev, write %ring, 32, 1, 16)
  // The step advances on the device once it has sampled.
  // CHECK-NEXT: exec.launch @advance_serial grid [1, 1, 1] (read_write %counts, read_write %tokens, read_write %positions, read_write %kv_index, read_write %kv_len, read_write %seq_flags, read_write %sample_params)
  %ids = llm.sample %logits : (tensor<?x32xf32>) -> tensor<?xi32>
  return %ids : tensor<?xi32>
}
}
