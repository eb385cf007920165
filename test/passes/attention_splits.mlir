// lower-to-exec: decode attention splits the cache of few sequences over the grid's z; the last of them merges the parts.
// RUN: sed -e 's/TARGET/sm_80/' -e 's/CONTEXT/4096/' %s | llmc-opt --select-kernels --lower-to-exec | FileCheck %s --check-prefixes=CHECK,LONG
// A short context gives no split enough to do, and a long one is cut into 32 at most.
// RUN: sed -e 's/TARGET/sm_80/' -e 's/CONTEXT/512/' %s | llmc-opt --select-kernels --lower-to-exec | FileCheck %s --check-prefixes=CHECK,SHORT
// RUN: sed -e 's/TARGET/sm_80/' -e 's/CONTEXT/128/' %s | llmc-opt --select-kernels --lower-to-exec | FileCheck %s --check-prefix=ONE
// RUN: sed -e 's/TARGET/x86-64-v3/' -e 's/CONTEXT/4096/' %s | llmc-opt --select-kernels --lower-to-exec | FileCheck %s --check-prefix=X86
// ONE-NOT: arrivals
// How many threads there will be is not known: a split for 512 entries of the longest context.
// X86: exec.launch @attention_split_decode_{{.*}} grid [8, 1, 8] ({{.*}} read_write %arrivals)

module attributes {llm.target = "TARGET", llm.block_tokens = 16 : i64, llm.max_batch = 64 : i64,
                   llm.max_context = CONTEXT : i64, llm.max_logits = 64 : i64, llm.vocab = 32 : i64} {

// One sequence and 2 KV heads would keep 2 of the 108 SMs busy: as many splits as fill the machine twice, each of 128 entries at least.
// CHECK-LABEL: exec.program @program_forward_t1_
// Accumulator, maximum and sum of every split: 8 heads x splits x (64 + 2) floats.
// LONG: %[[PARTS:.*]] = exec.buffer "attention splits" 67584
// SHORT: %[[PARTS:.*]] = exec.buffer "attention splits" 8448
// LONG: exec.launch @attention_decode_{{.*}} grid [2, 1, 32] (read %counts, read %{{.*}}, write %logits, read %token_seq, read %seq_slot, read %kv_index, read %query_start, read %kv_len, write %[[PARTS]], read %kv0, {{.*}}, 8, 0, 32, 1.250000e-01, read_write %arrivals)
// SHORT: exec.launch @attention_decode_{{.*}} grid [2, 1, 4] ({{.*}} write %logits, {{.*}} write %[[PARTS]], {{.*}}, 8, 0, 4, 1.250000e-01, read_write %arrivals)
func.func @forward_t1_s1_l1(%q: tensor<?x512xf32>, %p: tensor<?xi32>, %r: tensor<?xi32>) -> (tensor<?x512xf32>, tensor<?x512xf32>)
    attributes {llm.bucket = array<i64: 1, 1, 1>} {
  %c = llm.kv_cache {layer = 0 : i64, window = 0 : i64, kv_heads = 2 : i64, head_dim = 64 : i64, element = bf16}
  %a = llm.attention %q, %c {heads = 8 : i64, kv_heads = 2 : i64, head_dim = 64 : i64, window = 0 : i64, scale = 0.125 : f64, kv_element = bf16}
      : (tensor<?x512xf32>) -> tensor<?x512xf32> loc("attention")
  return %a, %a : tensor<?x512xf32>, tensor<?x512xf32>
}

// Eight sequences need fewer, and many need none.
// CHECK-LABEL: exec.program @program_forward_t8_
// LONG: exec.launch @attention_decode_{{.*}} grid [2, 8, 13] (
// SHORT: exec.launch @attention_decode_{{.*}} grid [2, 8, 4] (
// CHECK-LABEL: exec.program @program_forward_t64_
// CHECK: exec.launch @attention_{{.*}} write %logits, {{.*}}, 0, 1, 1.250000e-01, null)
func.func @forward_t8_s8_l8(%q: tensor<?x512xf32>, %p: tensor<?xi32>, %r: tensor<?xi32>) -> (tensor<?x512xf32>, tensor<?x512xf32>)
    attributes {llm.bucket = array<i64: 8, 8, 8>} {
  %c = llm.kv_cache {layer = 0 : i64, window = 0 : i64, kv_heads = 2 : i64, head_dim = 64 : i64, element = bf16}
  %a = llm.attention %q, %c {heads = 8 : i64, kv_heads = 2 : i64, head_dim = 64 : i64, window = 0 : i64, scale = 0.125 : f64, kv_element = bf16}
      : (tensor<?x512xf32>) -> tensor<?x512xf32> loc("attention")
  return %a, %a : tensor<?x512xf32>, tensor<?x512xf32>
}
func.func @forward_t64_s64_l64(%q: tensor<?x512xf32>, %p: tensor<?xi32>, %r: tensor<?xi32>) -> (tensor<?x512xf32>, tensor<?x512xf32>)
    attributes {llm.bucket = array<i64: 64, 64, 64>} {
  %c = llm.kv_cache {layer = 0 : i64, window = 0 : i64, kv_heads = 2 : i64, head_dim = 64 : i64, element = bf16}
  %a = llm.attention %q, %c {heads = 8 : i64, kv_heads = 2 : i64, head_dim = 64 : i64, window = 0 : i64, scale = 0.125 : f64, kv_element = bf16}
      : (tensor<?x512xf32>) -> tensor<?x512xf32> loc("attention")
  return %a, %a : tensor<?x512xf32>, tensor<?x512xf32>
}
}
