// plan-memory: buffers share memory when every access to the one comes before every access to the other in the partial order.
// RUN: llmc-opt %s --schedule --plan-memory --verify-exec -split-input-file | FileCheck %s

// A chain needs two places; every offset is a multiple of 256.
// CHECK-LABEL: exec.program @chain "forward" tokens 1 seqs 1 logits 1 arena 512 {
exec.kernel @k "k" from "k.h" {family = "k", variant = "k", threads = 1 : i64, shared_bytes = 0 : i64}
exec.program @chain "forward" tokens 1 seqs 1 logits 1 {
  // CHECK-DAG: %a = exec.buffer "a" 100 at 0
  // CHECK-DAG: %b = exec.buffer "b" 100 at 256
  // CHECK-DAG: %c = exec.buffer "c" 100 at 0
  // CHECK-DAG: %d = exec.buffer "d" 100 at 256
  %a = exec.buffer "a" 100
  exec.launch @k grid [1, 1, 1] (write %a) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  %b = exec.buffer "b" 100
  exec.launch @k grid [1, 1, 1] (read %a, write %b) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  %c = exec.buffer "c" 100
  exec.launch @k grid [1, 1, 1] (read %b, write %c) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  %d = exec.buffer "d" 100
  exec.launch @k grid [1, 1, 1] (read %c, write %d) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
}

// -----

// Parallel branches may run at the same time: nothing of the one reuses memory of the other, although in list order
// @left is done before @right begins.
// CHECK-LABEL: exec.program @branches "forward" tokens 1 seqs 1 logits 1 arena 1024 {
exec.kernel @k "k" from "k.h" {family = "k", variant = "k", threads = 1 : i64, shared_bytes = 0 : i64}
exec.program @branches "forward" tokens 1 seqs 1 logits 1 {
  // CHECK-DAG: %left0 = exec.buffer "left0" 256 at 0
  // CHECK-DAG: %left1 = exec.buffer "left1" 256 at 256
  // CHECK-DAG: %right0 = exec.buffer "right0" 256 at 512
  // CHECK-DAG: %right1 = exec.buffer "right1" 256 at 768
  %l0 = exec.buffer "left0" 256
  %l1 = exec.buffer "left1" 256
  %r0 = exec.buffer "right0" 256
  %r1 = exec.buffer "right1" 256
  %io = exec.io "counts"
  exec.launch @k grid [1, 1, 1] (read %io, write %l0) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  exec.launch @k grid [1, 1, 1] (read %l0, write %l1) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  exec.launch @k grid [1, 1, 1] (read %io, write %r0) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  exec.launch @k grid [1, 1, 1] (read %r0, write %r1) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
}

// -----

// Large buffers are placed first; a small one takes the lowest gap that is free while it lives.
// CHECK-LABEL: exec.program @gaps "forward" tokens 1 seqs 1 logits 1 arena 4352 {
exec.kernel @k "k" from "k.h" {family = "k", variant = "k", threads = 1 : i64, shared_bytes = 0 : i64}
exec.program @gaps "forward" tokens 1 seqs 1 logits 1 {
  // CHECK-DAG: %small = exec.buffer "small" 16 at 4096
  // CHECK-DAG: %large = exec.buffer "large" 4096 at 0
  // CHECK-DAG: %late = exec.buffer "late" 2048 at 0
  %small = exec.buffer "small" 16
  %large = exec.buffer "large" 4096
  exec.launch @k grid [1, 1, 1] (write %small) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  exec.launch @k grid [1, 1, 1] (read %small, write %large) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  %late = exec.buffer "late" 2048
  exec.launch @k grid [1, 1, 1] (read %small, read_write %large) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  exec.launch @k grid [1, 1, 1] (read %large) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  %x = exec.io "counts"
  exec.launch @k grid [1, 1, 1] (read_write %large, write %x) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  exec.launch @k grid [1, 1, 1] (read %x, write %late) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
}

// -----

// A program without buffers needs no arena.
// CHECK-LABEL: exec.program @none "sample" tokens 1 seqs 1 logits 1 arena 0 {
exec.program @none "sample" tokens 1 seqs 1 logits 1 {
}
