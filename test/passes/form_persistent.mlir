// RUN: llmc-opt %s --form-persistent | FileCheck %s
// RUN: sed 's/"sm_90"/"sm_80"/' %s | llmc-opt --form-persistent | FileCheck %s --check-prefix=NONE
// RUN: sed 's/{llm.target/{llm.force_variant = {persistent = "bf16_r16"}, llm.target/' %s | llmc-opt --form-persistent | FileCheck %s --check-prefix=FORCED

// NONE-NOT: persistent
module attributes {llm.target = "sm_90"} {
exec.kernel @embed "embed<bf16>" from "cuda/embed.h" {family = "embed", variant = "vector", threads = 256 : i64, shared_bytes = 0 : i64, weight = bf16}
exec.kernel @add "linear_gemv_fused<bf16, bf16>" from "cuda/linear_gemv_fused.h"
    {family = "linear_add", variant = "gemv_bf16_r8", threads = 256 : i64, shared_bytes = 0 : i64, weight = bf16, operand = bf16}
exec.kernel @add_f16 "linear_gemv_fused<f16, f16>" from "cuda/linear_gemv_fused.h"
    {family = "linear_add", variant = "gemv_f16_r8", threads = 256 : i64, shared_bytes = 0 : i64, weight = f16, operand = f16}
exec.kernel @attend "attention_decode_mma<bf16, bf16, 128, 2>" from "cuda/attention_decode_mma.h"
    {family = "attention", variant = "decode_mma_bf16", threads = 128 : i64, shared_bytes = 0 : i64, operand = bf16, kv = bf16, head_dim = 128 : i64}
exec.kernel @attend_tiled "attention_mma<bf16, bf16, 128>" from "cuda/attention_mma.h"
    {family = "attention", variant = "mma_bf16", threads = 128 : i64, shared_bytes = 0 : i64, operand = bf16, kv = bf16, head_dim = 128 : i64}
exec.kernel @silu "silu" from "cuda/elementwise.h" {family = "silu", variant = "vector", threads = 256 : i64, shared_bytes = 0 : i64}

// Every launch has a phase, and all share one type: the launches stay, and the kernel that can run them is named.
// CHECK-LABEL: exec.program @whole
// CHECK-SAME: persistent = @persistent_bf16_r8__w_bf16__x_bf16__kv_bf16__d128
// CHECK-COUNT-3: exec.launch
exec.program @whole "forward" tokens 4 seqs 4 logits 4 {
  %x = exec.buffer "x" 1024
  exec.launch @embed grid [1, 4, 1] (write %x)
      {op = "embed", layer = "", bytes = array<f64: 0., 0., 0., 0., 0.>, flops = array<f64: 0., 0., 0., 0., 0.>}
  exec.launch @attend grid [8, 4, 1] (read_write %x)
      {op = "attention", layer = "", bytes = array<f64: 0., 0., 0., 0., 0.>, flops = array<f64: 0., 0., 0., 0., 0.>}
  exec.launch @add grid [8, 1, 1] (read_write %x)
      {op = "linear_add", layer = "", bytes = array<f64: 64., 0., 0., 0., 0.>, flops = array<f64: 0., 0., 0., 0., 0.>}
}
// Phases of dense linear layers read x (of as many rows as the program has tokens) and w by tensor copies.
// CHECK-LABEL: exec.program @maps
// CHECK: exec.launch @add
// CHECK-SAME: map %x : bf16 [64, 4, 2] strides [128, 512] box [64, 4, 8] swizzle 128, map %w : bf16 [64, 4, 48] strides [128, 512] box [64, 4, 8] swizzle 128)
exec.program @maps "forward" tokens 2 seqs 2 logits 2 {
  %x = exec.buffer "x" 1024
  %w = exec.buffer "w" 24576
  exec.launch @attend grid [8, 2, 1] (read_write %x)
      {op = "attention", layer = "", bytes = array<f64: 0., 0., 0., 0., 0.>, flops = array<f64: 0., 0., 0., 0., 0.>}
  exec.launch @add grid [8, 1, 1] (read %x, read %x, read %w, null, null, null, null, write %x, null, null, 0, 48, 256, 0, 8, 1.0, null, null, null, null)
      {op = "linear_add", layer = "", bytes = array<f64: 64., 0., 0., 0., 0.>, flops = array<f64: 0., 0., 0., 0., 0.>}
}
// Sixteen tokens take the kernel for as many; more than that have none.
// CHECK-LABEL: exec.program @many
// CHECK-SAME: persistent = @persistent_bf16_r16__w_bf16__x_bf16__kv_bf16__d128
// FORCED: exec.program @many{{.*}}persistent = @persistent_bf16_r16__w_bf16__x_bf16__kv_bf16__d128
exec.program @many "forward" tokens 16 seqs 16 logits 16 {
  %x = exec.buffer "x" 1024
  exec.launch @attend grid [8, 16, 1] (read_write %x)
      {op = "attention", layer = "", bytes = array<f64: 0., 0., 0., 0., 0.>, flops = array<f64: 0., 0., 0., 0., 0.>}
}
// CHECK-LABEL: exec.program @too_many
// CHECK-NOT: persistent =
exec.program @too_many "forward" tokens 32 seqs 32 logits 32 {
  %x = exec.buffer "x" 1024
  exec.launch @attend grid [8, 32, 1] (read_write %x)
      {op = "attention", layer = "", bytes = array<f64: 0., 0., 0., 0., 0.>, flops = array<f64: 0., 0., 0., 0., 0.>}
}
// CHECK-LABEL: exec.program @no_phase
// CHECK-NOT: persistent =
exec.program @no_phase "forward" tokens 4 seqs 4 logits 4 {
  %x = exec.buffer "x" 1024
  exec.launch @attend grid [8, 4, 1] (read_write %x)
      {op = "attention", layer = "", bytes = array<f64: 0., 0., 0., 0., 0.>, flops = array<f64: 0., 0., 0., 0., 0.>}
  exec.launch @silu grid [8, 1, 1] (read_write %x)
      {op = "silu", layer = "", bytes = array<f64: 0., 0., 0., 0., 0.>, flops = array<f64: 0., 0., 0., 0., 0.>}
}
// CHECK-LABEL: exec.program @two_types
// CHECK-NOT: persistent =
exec.program @two_types "forward" tokens 4 seqs 4 logits 4 {
  %x = exec.buffer "x" 1024
  exec.launch @attend grid [8, 4, 1] (read_write %x)
      {op = "attention", layer = "", bytes = array<f64: 0., 0., 0., 0., 0.>, flops = array<f64: 0., 0., 0., 0., 0.>}
  exec.launch @add_f16 grid [8, 1, 1] (read_write %x)
      {op = "linear_add", layer = "", bytes = array<f64: 64., 0., 0., 0., 0.>, flops = array<f64: 0., 0., 0., 0., 0.>}
}
// A tile of several tokens is no phase: phases take a token at a time.
// CHECK-LABEL: exec.program @tiled
// CHECK-NOT: persistent =
exec.program @tiled "forward" tokens 4 seqs 4 logits 4 {
  %x = exec.buffer "x" 1024
  exec.launch @attend_tiled grid [8, 1, 1] (read_write %x)
      {op = "attention", layer = "", bytes = array<f64: 0., 0., 0., 0., 0.>, flops = array<f64: 0., 0., 0., 0., 0.>}
}
// CHECK-LABEL: exec.program @sample
// CHECK-NOT: persistent =
exec.program @sample "sample" tokens 4 seqs 4 logits 4 {
  %x = exec.buffer "x" 1024
  exec.launch @embed grid [1, 4, 1] (write %x)
      {op = "embed", layer = "", bytes = array<f64: 0., 0., 0., 0., 0.>, flops = array<f64: 0., 0., 0., 0., 0.>}
}
// CHECK: exec.kernel @persistent_bf16_r8__w_bf16__x_bf16__kv_bf16__d128 "persistent<bf16, bf16, bf16, 128, {{.*}}>" from "cuda/persistent.h"
}
