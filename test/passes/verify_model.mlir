// verify-model: what may no longer exist behind the model passes.
// RUN: llmc-opt %s --verify-model -verify-diagnostics -split-input-file

module {
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

// expected-error @+1 {{verify-model: no function @forward}}
module {
  func.func @sample() {
    return
  }
}

// -----

// expected-error @+1 {{verify-model: no function @sample}}
module {
  func.func @forward() {
    return
  }
}

// -----

module {
  func.func @forward() {
    // expected-error @+1 {{verify-model: operation of another dialect: builtin.unrealized_conversion_cast}}
    %0 = builtin.unrealized_conversion_cast to tensor<?x8xf32>
    return
  }
  func.func @sample() {
    return
  }
}

// -----

module {
  func.func @forward(%x: tensor<4x8xf32>) {
    // expected-error @+1 {{verify-model: an activation needs one dynamic leading dimension, found 'tensor<4x8xf32>'}}
    %0 = llm.silu %x : (tensor<4x8xf32>) -> tensor<4x8xf32>
    return
  }
  func.func @sample() {
    return
  }
}

// -----

module {
  func.func @forward(%x: tensor<?x?xf32>) {
    // expected-error @+1 {{verify-model: an activation needs one dynamic leading dimension, found 'tensor<?x?xf32>'}}
    %0 = llm.silu %x : (tensor<?x?xf32>) -> tensor<?x?xf32>
    return
  }
  func.func @sample() {
    return
  }
}
