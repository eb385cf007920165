// schedule: a programmatic edge goes to a kernel that has something to do before it waits, from its only predecessor, which is a kernel
// too; on targets that have such edges.
// RUN: sed 's/TARGET/sm_90/' %s | llmc-opt --schedule -split-input-file | FileCheck %s --check-prefixes=CHECK,PDL
// RUN: sed 's/TARGET/sm_89/' %s | llmc-opt --schedule -split-input-file | FileCheck %s --check-prefix=CHECK --implicit-check-not=programmatic
// RUN: sed 's/TARGET/x86-64-v3/' %s | llmc-opt --schedule -split-input-file | FileCheck %s --check-prefix=CHECK --implicit-check-not=programmatic

// A kernel that waits at its start gains nothing: its blocks would only take places. One without a predecessor has nothing to wait for.
module attributes {llm.target = "TARGET"} {
exec.kernel @early "linear_stream<bf16, bf16, 2, 1, 7, Epilogue::kAdd>" from "cuda/linear_stream.h" {family = "linear_add", variant = "stream_bf16_r8", threads = 416 : i64, shared_bytes = 169880 : i64}
exec.kernel @late "add" from "cuda/elementwise.h" {family = "add", variant = "thread", threads = 256 : i64, shared_bytes = 0 : i64}
// CHECK-LABEL: exec.program @chain
exec.program @chain "forward" tokens 1 seqs 1 logits 1 {
  %a = exec.buffer "a" 64
  %b = exec.buffer "b" 64
  %c = exec.buffer "c" 64
  // CHECK: exec.launch @early {{.*}} after [] {{.*}}layer = "", op = "k"}
  exec.launch @early grid [1, 1, 1] (write %a) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  // PDL: exec.launch @early {{.*}} after [0] {{.*}}programmatic}
  exec.launch @early grid [1, 1, 1] (read %a, write %b) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  // CHECK: exec.launch @late {{.*}} after [1] {{.*}}layer = "", op = "k"}
  exec.launch @late grid [1, 1, 1] (read %b, write %c) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  // PDL: exec.launch @early {{.*}} after [2] {{.*}}programmatic}
  exec.launch @early grid [1, 1, 1] (read %c) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
}
}

// -----

// Two predecessors: the second edge would have to be a full one.
module attributes {llm.target = "TARGET"} {
exec.kernel @early "linear_stream<bf16, bf16, 2, 1, 7, Epilogue::kAdd>" from "cuda/linear_stream.h" {family = "linear_add", variant = "stream_bf16_r8", threads = 416 : i64, shared_bytes = 169880 : i64}
exec.kernel @late "add" from "cuda/elementwise.h" {family = "add", variant = "thread", threads = 256 : i64, shared_bytes = 0 : i64}
// CHECK-LABEL: exec.program @two_predecessors
exec.program @two_predecessors "forward" tokens 1 seqs 1 logits 1 {
  %a = exec.buffer "a" 64
  %b = exec.buffer "b" 64
  // CHECK: after [] {{.*}}layer = "", op = "k"}
  exec.launch @late grid [1, 1, 1] (write %a) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  // CHECK: after [] {{.*}}layer = "", op = "k"}
  exec.launch @late grid [1, 1, 1] (write %b) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  // CHECK: exec.launch @early {{.*}} after [0, 1] {{.*}}layer = "", op = "k"}
  exec.launch @early grid [1, 1, 1] (read %a, read %b) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
}
}

// -----

// A call into the library never says that a launch behind it may start.
module attributes {llm.target = "TARGET"} {
exec.kernel @early "linear_stream<bf16, bf16, 2, 1, 7, Epilogue::kAdd>" from "cuda/linear_stream.h" {family = "linear_add", variant = "stream_bf16_r8", threads = 416 : i64, shared_bytes = 169880 : i64}
exec.kernel @late "add" from "cuda/elementwise.h" {family = "add", variant = "thread", threads = 256 : i64, shared_bytes = 0 : i64}
// CHECK-LABEL: exec.program @library
exec.program @library "forward" tokens 1 seqs 1 logits 1 {
  %x = exec.buffer "x" 512
  %y = exec.buffer "y" 1024
  %z = exec.buffer "z" 64
  %w = exec.weight_ptr @w
  %s = exec.state "gemm_workspace"
  // CHECK: exec.gemm
  exec.gemm bf16 rows 32 cols 8 k 8 (read %x, read %w, write %y, read_write %s) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "linear", layer = ""}
  // CHECK: exec.launch @early {{.*}} after [0] {{.*}}layer = "", op = "k"}
  exec.launch @early grid [1, 1, 1] (read %y, write %z) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  // PDL: exec.launch @early {{.*}} after [1] {{.*}}programmatic}
  exec.launch @early grid [1, 1, 1] (read %z) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
}
}
