// verify-exec: hand-written programs, each broken in one way.
// RUN: llmc-opt %s --verify-exec -verify-diagnostics -split-input-file

// This one is whole.
exec.kernel @k "k" from "k.h" {family = "k", variant = "k", threads = 1 : i64, shared_bytes = 0 : i64}
exec.weight @w [#llm.part<"w" rows 0 to 8 cols 0 to 8>] : 8 x 8 x f32 {layout = "interleaved16", bytes = 512 : i64, init_kernel = @k}
exec.program @whole "forward" tokens 1 seqs 1 logits 1 arena 512 {
  %a = exec.buffer "a" 256 at 0
  %b = exec.buffer "b" 256 at 256
  %c = exec.buffer "c" 512 at 0
  %w = exec.weight_ptr @w
  exec.launch @k grid [1, 1, 1] (read %w, write %a) after [] {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  exec.launch @k grid [1, 1, 1] (read %w, write %b) after [] {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  exec.launch @k grid [1, 1, 1] (read %a, read %b) after [0, 1] {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  exec.launch @k grid [1, 1, 1] (write %c) after [2] {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
}

// -----

exec.program @no_kernel "forward" tokens 1 seqs 1 logits 1 arena 0 {
  // expected-error @+1 {{verify-exec: no kernel @k}}
  exec.launch @k grid [1, 1, 1] () after [] {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
}

// -----

exec.constant @k {values = array<f32: 1.0>}
exec.program @kernel_is_a_constant "forward" tokens 1 seqs 1 logits 1 arena 0 {
  // expected-error @+1 {{verify-exec: no kernel @k}}
  exec.launch @k grid [1, 1, 1] () after [] {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
}

// -----

exec.program @no_weight "forward" tokens 1 seqs 1 logits 1 arena 0 {
  // expected-error @+1 {{verify-exec: no weight @w}}
  %w = exec.weight_ptr @w
}

// -----

exec.program @no_constant "forward" tokens 1 seqs 1 logits 1 arena 0 {
  // expected-error @+1 {{verify-exec: no constant @c}}
  %c = exec.constant_ptr @c
}

// -----

// expected-error @+1 {{verify-exec: no kernel @pack}}
exec.weight @w [#llm.part<"w" rows 0 to 8 cols 0 to 8>] : 8 x 8 x f32 {layout = "interleaved16", bytes = 512 : i64, init_kernel = @pack}

// -----

exec.kernel @k "k" from "k.h" {family = "k", variant = "k", threads = 1 : i64, shared_bytes = 0 : i64}
exec.program @unscheduled "forward" tokens 1 seqs 1 logits 1 arena 0 {
  // expected-error @+1 {{verify-exec: a launch without its list of predecessors}}
  exec.launch @k grid [1, 1, 1] () {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
}

// -----

exec.kernel @k "k" from "k.h" {family = "k", variant = "k", threads = 1 : i64, shared_bytes = 0 : i64}
exec.program @read_too_early "forward" tokens 1 seqs 1 logits 1 arena 256 {
  %a = exec.buffer "a" 256 at 0
  exec.launch @k grid [1, 1, 1] (write %a) after [] {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  // expected-error @+1 {{verify-exec: launch 1 does not wait for launch 0, which it depends on}}
  exec.launch @k grid [1, 1, 1] (read %a) after [] {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
}

// -----

exec.kernel @k "k" from "k.h" {family = "k", variant = "k", threads = 1 : i64, shared_bytes = 0 : i64}
exec.program @write_while_read "forward" tokens 1 seqs 1 logits 1 arena 0 {
  %kv = exec.kv_base 0
  exec.launch @k grid [1, 1, 1] (read %kv) after [] {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  // expected-error @+1 {{verify-exec: launch 1 does not wait for launch 0, which it depends on}}
  exec.launch @k grid [1, 1, 1] (write %kv) after [] {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
}

// -----

exec.kernel @k "k" from "k.h" {family = "k", variant = "k", threads = 1 : i64, shared_bytes = 0 : i64}
exec.program @unplaced "forward" tokens 1 seqs 1 logits 1 arena 256 {
  // expected-error @+1 {{verify-exec: a buffer without an offset}}
  %a = exec.buffer "a" 256
}

// -----

exec.program @beyond_the_arena "forward" tokens 1 seqs 1 logits 1 arena 256 {
  // expected-error @+1 {{verify-exec: a buffer beyond the arena}}
  %a = exec.buffer "a" 256 at 16
}

// -----

exec.program @no_arena "forward" tokens 1 seqs 1 logits 1 {
  // expected-error @+1 {{verify-exec: a buffer beyond the arena}}
  %a = exec.buffer "a" 256 at 0
}

// -----

exec.kernel @k "k" from "k.h" {family = "k", variant = "k", threads = 1 : i64, shared_bytes = 0 : i64}
exec.program @overlap "forward" tokens 1 seqs 1 logits 1 arena 512 {
  %a = exec.buffer "a" 256 at 0
  // expected-error @+1 {{verify-exec: overlaps in memory with buffer 'a' while both are in use}}
  %b = exec.buffer "b" 256 at 128
  exec.launch @k grid [1, 1, 1] (write %a) after [] {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  exec.launch @k grid [1, 1, 1] (read %a, write %b) after [0] {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
}

// -----

// Ordered in the list, but not in the partial order.
exec.kernel @k "k" from "k.h" {family = "k", variant = "k", threads = 1 : i64, shared_bytes = 0 : i64}
exec.program @parallel_overlap "forward" tokens 1 seqs 1 logits 1 arena 512 {
  %a = exec.buffer "a" 256 at 0
  // expected-error @+1 {{verify-exec: overlaps in memory with buffer 'a' while both are in use}}
  %b = exec.buffer "b" 256 at 0
  exec.launch @k grid [1, 1, 1] (write %a) after [] {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  exec.launch @k grid [1, 1, 1] (write %b) after [] {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
}

// -----

exec.kernel @k "k" from "k.h" {family = "k", variant = "k", threads = 1 : i64, shared_bytes = 0 : i64}
exec.program @beyond_the_buffer "forward" tokens 1 seqs 1 logits 1 arena 256 {
  %a = exec.buffer "a" 256 at 0
  // expected-error @+1 {{verify-exec: an argument beyond buffer 'a' of 256 bytes}}
  exec.launch @k grid [1, 1, 1] (write %a + 256) after [] {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
}

// -----

exec.weight @w [#llm.part<"w" rows 0 to 8 cols 0 to 8>] : 8 x 8 x f16 {layout = "rows", bytes = 128 : i64}
exec.program @gemms "forward" tokens 32 seqs 1 logits 1 arena 1536 {
  %x = exec.buffer "x" 512 at 0
  %y = exec.buffer "y" 1024 at 512
  %w = exec.weight_ptr @w
  %s = exec.state "gemm_workspace"
  exec.gemm f16 rows 32 cols 8 k 8 (read %x, read %w, write %y, read_write %s) after [] {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "linear", layer = ""}
  exec.gemm f16 rows 32 cols 8 k 8 (read %x, read %w, write %y, read_write %s) after [0] {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "linear", layer = ""}
}

// -----

exec.weight @w [#llm.part<"w" rows 0 to 8 cols 0 to 8>] : 8 x 8 x f16 {layout = "rows", bytes = 128 : i64}
exec.program @gemms_share_the_workspace "forward" tokens 32 seqs 1 logits 1 arena 1536 {
  %x = exec.buffer "x" 512 at 0
  %y = exec.buffer "y" 1024 at 512
  %w = exec.weight_ptr @w
  %s = exec.state "gemm_workspace"
  exec.gemm f16 rows 32 cols 8 k 8 (read %x, read %w, write %y, read_write %s) after [] {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "linear", layer = ""}
  // expected-error @+1 {{verify-exec: launch 1 does not wait for launch 0, which it depends on}}
  exec.gemm f16 rows 32 cols 8 k 8 (read %x, read %w, write %y, read_write %s) after [] {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "linear", layer = ""}
}

// -----

exec.weight @w [#llm.part<"w" rows 0 to 8 cols 0 to 8>] : 8 x 8 x f16 {layout = "rows", bytes = 128 : i64}
exec.program @gemm_overrun "forward" tokens 32 seqs 1 logits 1 arena 1536 {
  %x = exec.buffer "x" 512 at 0
  %y = exec.buffer "y" 1023 at 512
  %w = exec.weight_ptr @w
  %s = exec.state "gemm_workspace"
  // expected-error @+1 {{verify-exec: an argument beyond buffer 'y' of 1023 bytes}}
  exec.gemm f16 rows 32 cols 8 k 8 (read %x, read %w, write %y, read_write %s) after [] {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "linear", layer = ""}
}

// -----

exec.weight @w [#llm.part<"w" rows 0 to 8 cols 0 to 8>] : 8 x 8 x f16 {layout = "rows", bytes = 128 : i64}
exec.program @gemm_on_its_operand "forward" tokens 32 seqs 1 logits 1 arena 1536 {
  %x = exec.buffer "x" 512 at 0
  // expected-error @+1 {{verify-exec: overlaps in memory with buffer 'x' while both are in use}}
  %y = exec.buffer "y" 1024 at 256
  %w = exec.weight_ptr @w
  %s = exec.state "gemm_workspace"
  exec.gemm f16 rows 32 cols 8 k 8 (read %x, read %w, write %y, read_write %s) after [] {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "linear", layer = ""}
}

// -----

// A map of 16 rows of 128 bytes, of which the last one is not there.
exec.kernel @k "k" from "k.h" {family = "k", variant = "k", threads = 1 : i64, shared_bytes = 0 : i64}
exec.program @map_beyond "forward" tokens 1 seqs 1 logits 1 arena 2048 {
  %y = exec.buffer "y" 2032 at 0
  // expected-error @+1 {{verify-exec: an argument beyond buffer 'y' of 2032 bytes}}
  exec.launch @k grid [1, 1, 1] (map %y : bf16 [64, 16] strides [128] box [64, 16] swizzle 128) after [] {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
}
