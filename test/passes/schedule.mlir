// schedule: predecessors from reads and writes of the same object, without edges that others imply.
// RUN: llmc-opt %s --schedule -split-input-file | FileCheck %s

// A chain: each waits for the one before it alone, although the last reads what the first wrote.
// CHECK-LABEL: exec.program @chain
exec.program @chain "forward" tokens 1 seqs 1 logits 1 {
  %a = exec.buffer "a" 64
  %b = exec.buffer "b" 64
  // CHECK: (write %a) after [] {
  exec.launch @k grid [1, 1, 1] (write %a) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  // CHECK: (read %a, write %b) after [0] {
  exec.launch @k grid [1, 1, 1] (read %a, write %b) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  // CHECK: (read %a, read_write %b) after [1] {
  exec.launch @k grid [1, 1, 1] (read %a, read_write %b) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
}

// -----

// Two branches run side by side and meet.
// CHECK-LABEL: exec.program @diamond
exec.program @diamond "forward" tokens 1 seqs 1 logits 1 {
  %x = exec.buffer "x" 64
  %l = exec.buffer "l" 64
  %r = exec.buffer "r" 64
  // CHECK: (write %x) after [] {
  exec.launch @k grid [1, 1, 1] (write %x) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  // CHECK: (read %x, write %l) after [0] {
  exec.launch @k grid [1, 1, 1] (read %x, write %l) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  // CHECK: (read %x, write %r) after [0] {
  exec.launch @k grid [1, 1, 1] (read %x, write %r) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  // The write waits for both readers, not for the writer that they waited for.
  // CHECK: (read %l, read %r, write %x) after [1, 2] {
  exec.launch @k grid [1, 1, 1] (read %l, read %r, write %x) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  // CHECK: (read %x) after [3] {
  exec.launch @k grid [1, 1, 1] (read %x) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
}

// -----

// A later writer waits for the earlier one even if nobody read in between.
// CHECK-LABEL: exec.program @write_after_write
exec.program @write_after_write "forward" tokens 1 seqs 1 logits 1 {
  %a = exec.buffer "a" 64
  // CHECK: after [] {
  exec.launch @k grid [1, 1, 1] (write %a) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  // CHECK: after [0] {
  exec.launch @k grid [1, 1, 1] (write %a) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
}

// -----

// Weights and constants are only read; KV layers, state and io fields count as objects, each by name, whatever value holds the pointer.
// CHECK-LABEL: exec.program @objects
exec.program @objects "forward" tokens 1 seqs 1 logits 1 {
  %w = exec.weight_ptr @w
  %c = exec.constant_ptr @c
  %kv0 = exec.kv_base 0
  %kv0_again = exec.kv_base 0
  %kv1 = exec.kv_base 1
  %state = exec.state "prev"
  %state_again = exec.state "prev"
  %io = exec.io "prev"
  // CHECK: after [] {
  exec.launch @k grid [1, 1, 1] (read %w, read %c, read_write %kv0) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  // CHECK: after [] {
  exec.launch @k grid [1, 1, 1] (read %w, read %c, read_write %kv1) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  // CHECK: after [0] {
  exec.launch @k grid [1, 1, 1] (read %kv0_again, write %state) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  // An io field and a state buffer of the same name are two things.
  // CHECK: after [] {
  exec.launch @k grid [1, 1, 1] (write %io) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  // CHECK: after [2] {
  exec.launch @k grid [1, 1, 1] (read %state_again) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
}

// -----

// One launch that names an object twice does not wait for itself.
// CHECK-LABEL: exec.program @in_place
exec.program @in_place "forward" tokens 1 seqs 1 logits 1 {
  %a = exec.buffer "a" 64
  // CHECK: after [] {
  exec.launch @k grid [1, 1, 1] (read %a, write %a + 32) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  // CHECK: after [0] {
  exec.launch @k grid [1, 1, 1] (write %a, read %a) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  // CHECK: after [1] {
  exec.launch @k grid [1, 1, 1] (read %a) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
}

// -----

// A library's call among kernels. A second one waits for the first although nothing but the workspace is common.
// CHECK-LABEL: exec.program @gemm
exec.program @gemm "forward" tokens 32 seqs 1 logits 1 {
  %x = exec.buffer "x" 512
  %y = exec.buffer "y" 1024
  %z = exec.buffer "z" 1024
  %w = exec.weight_ptr @w
  %s = exec.state "gemm_workspace"
  // CHECK: (write %x) after [] {
  exec.launch @k grid [1, 1, 1] (write %x) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  // CHECK: exec.gemm f16 {{.*}} after [0] {
  exec.gemm f16 rows 32 cols 8 k 8 (read %x, read %w, write %y, read_write %s) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "linear", layer = ""}
  // CHECK: exec.gemm f16 {{.*}} after [1] {
  exec.gemm f16 rows 32 cols 8 k 8 (read %x, read %w, write %z, read_write %s) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "linear", layer = ""}
  // CHECK: (read %y) after [1] {
  exec.launch @k grid [1, 1, 1] (read %y) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
  // CHECK: (write %x) after [2] {
  exec.launch @k grid [1, 1, 1] (write %x) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "k", layer = ""}
}
