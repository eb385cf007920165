// expand-buckets: a copy of @forward per bucket, and of @sample per number of logit rows.
// RUN: llmc-opt %s --expand-buckets -verify-diagnostics -split-input-file | FileCheck %s

// CHECK-NOT: @forward(
// CHECK: func.func @forward_t1_s1_l1(%{{.*}}: tensor<?xi32>) -> tensor<?xi32> attributes {llm.bucket = array<i64: 1, 1, 1>}
// CHECK: func.func @sample_l1({{.*}}) -> tensor<?xi32> attributes {llm.bucket = array<i64: 1, 1, 1>}
// CHECK: func.func @forward_t16_s8_l16({{.*}}) -> tensor<?xi32> attributes {llm.bucket = array<i64: 16, 8, 16>}
// CHECK: llm.resolve_ids
// CHECK: func.func @sample_l16({{.*}}) -> tensor<?xi32> attributes {llm.bucket = array<i64: 16, 8, 16>}
// CHECK: func.func @forward_t32_s8_l16({{.*}}) -> tensor<?xi32> attributes {llm.bucket = array<i64: 32, 8, 16>}
// CHECK-NOT: @sample
// CHECK: module
module attributes {llm.buckets = [array<i64: 1, 1, 1>, array<i64: 16, 8, 16>, array<i64: 32, 8, 16>]} {
  func.func @forward(%tokens: tensor<?xi32>) -> tensor<?xi32> {
    %ids = llm.resolve_ids %tokens : tensor<?xi32> -> tensor<?xi32>
    return %ids : tensor<?xi32>
  }
  func.func @sample(%logits: tensor<?x8xf32>) -> tensor<?xi32> {
    %ids = llm.sample %logits : (tensor<?x8xf32>) -> tensor<?xi32>
    return %ids : tensor<?xi32>
  }
}

// -----

// A bucket that is listed twice is built once.
// CHECK: func.func @forward_t1_s1_l1
// CHECK-NOT: func.func @forward
module attributes {llm.buckets = [array<i64: 1, 1, 1>, array<i64: 1, 1, 1>]} {
  func.func @forward() {
    return
  }
  func.func @sample() {
    return
  }
}

// -----

// expected-error @+1 {{expand-buckets: the module has no llm.buckets}}
module {
}

// -----

// expected-error @+1 {{expand-buckets: needs @forward and @sample}}
module attributes {llm.buckets = [array<i64: 1, 1, 1>]} {
}

// -----

// expected-error @+1 {{a bucket is array<i64: tokens, sequences, logit rows>, found array<i64: 1, 0, 1>}}
module attributes {llm.buckets = [array<i64: 1, 0, 1>]} {
  func.func @forward() {
    return
  }
  func.func @sample() {
    return
  }
}

// -----

// expected-error @+1 {{a bucket is array<i64: tokens, sequences, logit rows>, found [1, 1, 1]}}
module attributes {llm.buckets = [[1, 1, 1]]} {
  func.func @forward() {
    return
  }
  func.func @sample() {
    return
  }
}
