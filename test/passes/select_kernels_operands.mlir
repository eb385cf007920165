// select-kernels on narrowed operands and on attention: tensor cores where the target has them for the type.
// RUN: llmc-opt %s --select-kernels | FileCheck %s

module attributes {llm.target = "sm_80"} {
// CHECK-LABEL: @forward_t512
func.func @forward_t512(%x: tensor<?x1024xf32>, %p: tensor<?xi32>, %r: tensor<?xi32>) -> (tensor<?x1024xf32>, tensor<?x1024xf32>)
    attributes {llm.bucket = array<i64: 512, 8, 16>} {
  %n = llm.weight [#llm.part<"n" rows 0 to 1024 cols 0 to 1>] : tensor<1024xbf16>
  %h = llm.rms_norm %x, %n {eps = 1.0e-5 : f64} : (tensor<?x1024xf32>, tensor<1024xbf16>) -> tensor<?x1024xbf16>
  %w = llm.weight [#llm.part<"w" rows 0 to 1024 cols 0 to 1024>] : tensor<1024x1024xbf16>
  // CHECK: llm.linear {{.*}} variant = "{{w?mma_bf16_[0-9x]+}}"
  %y = llm.linear %h, %w : (tensor<?x1024xbf16>, tensor<1024x1024xbf16>) -> tensor<?x1024xf32>
  %c = llm.kv_cache {layer = 0 : i64, window = 0 : i64, kv_heads = 8 : i64, head_dim = 64 : i64, element = bf16}
  // CHECK: llm.attention {{.*}} runner_up = "{{.*}}", variant = "{{.*}}"
  %a = llm.attention %y, %c {heads = 16 : i64, kv_heads = 8 : i64, head_dim = 64 : i64, window = 0 : i64, scale = 0.125 : f64, kv_element = bf16}
      : (tensor<?x1024xf32>) -> tensor<?x1024xbf16>
  %z = llm.linear %a, %w : (tensor<?x1024xbf16>, tensor<1024x1024xbf16>) -> tensor<?x1024xf32>
  %d = llm.kv_cache {layer = 1 : i64, window = 0 : i64, kv_heads = 4 : i64, head_dim = 256 : i64, element = f32}
  // A head dimension for which there are no tensor core variants.
  // CHECK: llm.attention {{.*}}head_dim = 256 : i64, {{.*}} variant = "{{(prefill|decode)[0-9_x]*}}"
  %b = llm.attention %z, %d {heads = 4 : i64, kv_heads = 4 : i64, head_dim = 256 : i64, window = 0 : i64, scale = 0.125 : f64, kv_element = f32}
      : (tensor<?x1024xf32>) -> tensor<?x1024xf32>
  return %y, %b : tensor<?x1024xf32>, tensor<?x1024xf32>
}
}
