// What the verifiers of the llm dialect refuse.
// RUN: llmc-opt %s -verify-diagnostics -split-input-file

func.func @weight_dynamic() {
  // expected-error @+1 {{needs a static shape, found 'tensor<?x8xf32>'}}
  %w = llm.weight [#llm.part<"w" rows 0 to 4 cols 0 to 8>] : tensor<?x8xf32>
  return
}

// -----

func.func @weight_empty_rows() {
  // expected-error @+1 {{has an empty row range in #llm.part<"w" rows 4 to 4 cols 0 to 8>}}
  %w = llm.weight [#llm.part<"w" rows 4 to 4 cols 0 to 8>] : tensor<4x8xf32>
  return
}

// -----

func.func @weight_negative_rows() {
  // expected-error @+1 {{has an empty row range}}
  %w = llm.weight [#llm.part<"w" rows -1 to 3 cols 0 to 8>] : tensor<4x8xf32>
  return
}

// -----

func.func @weight_columns() {
  // expected-error @+1 {{needs parts of 8 columns, found #llm.part<"w" rows 0 to 4 cols 0 to 4>}}
  %w = llm.weight [#llm.part<"w" rows 0 to 4 cols 0 to 4>] : tensor<4x8xf32>
  return
}

// -----

func.func @weight_rows() {
  // expected-error @+1 {{needs parts of 8 rows in all, found 6}}
  %w = llm.weight [#llm.part<"a" rows 0 to 4 cols 0 to 8>, #llm.part<"b" rows 0 to 2 cols 0 to 8>] : tensor<8x8xf32>
  return
}

// -----

func.func @weight_vector_columns() {
  // expected-error @+1 {{needs parts of 1 columns}}
  %w = llm.weight [#llm.part<"w" rows 0 to 8 cols 0 to 8>] : tensor<8xf32>
  return
}

// -----

func.func @weight_type() {
  // expected-error @+1 {{must be 2D tensor of 32-bit float or 16-bit float or bfloat16 type values or 1D tensor}}
  %w = llm.weight [#llm.part<"w" rows 0 to 8 cols 0 to 1>] : tensor<8xi8>
  return
}

// -----

func.func @embed(%ids: tensor<?xi32>, %table: tensor<32x8xf32>) {
  // expected-error @+1 {{result width 16 differs from the table's 8}}
  %x = llm.embed %ids, %table : (tensor<?xi32>, tensor<32x8xf32>) -> tensor<?x16xf32>
  return
}

// -----

func.func @rms_norm_group(%x: tensor<?x10xf32>, %w: tensor<4xf32>) {
  // expected-error @+1 {{width 10 is not a multiple of the weight's 4}}
  %y = llm.rms_norm %x, %w {eps = 1.0e-5 : f64} : (tensor<?x10xf32>, tensor<4xf32>) -> tensor<?x10xf32>
  return
}

// -----

func.func @rms_norm_result(%x: tensor<?x8xf32>, %w: tensor<8xf32>) {
  // expected-error @+1 {{result width differs from the input's}}
  %y = llm.rms_norm %x, %w {eps = 1.0e-5 : f64} : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @add_rms_norm(%x: tensor<?x8xf32>, %y: tensor<?x4xf32>, %w: tensor<8xf32>) {
  // expected-error @+1 {{needs width 8 everywhere, found 4}}
  %s, %n = llm.add_rms_norm %x, %y, %w {eps = 1.0e-5 : f64}
      : (tensor<?x8xf32>, tensor<?x4xf32>, tensor<8xf32>) -> (tensor<?x8xf32>, tensor<?x8xf32>)
  return
}

// -----

func.func @linear_input(%x: tensor<?x8xf32>, %w: tensor<4x16xf32>) {
  // expected-error @+1 {{input width 8 differs from the weight's 16}}
  %y = llm.linear %x, %w : (tensor<?x8xf32>, tensor<4x16xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @linear_result(%x: tensor<?x8xf32>, %w: tensor<4x8xf32>) {
  // expected-error @+1 {{result width 8 differs from the weight's rows 4}}
  %y = llm.linear %x, %w : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @linear_bias(%x: tensor<?x8xf32>, %w: tensor<4x8xf32>, %b: tensor<8xf32>) {
  // expected-error @+1 {{bias of 8 elements, expected 4}}
  %y = llm.linear %x, %w bias %b : (tensor<?x8xf32>, tensor<4x8xf32>, tensor<8xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @linear_accumulates_in_float32(%x: tensor<?x8xf16>, %w: tensor<4x8xf16>) {
  // expected-error @+1 {{must be 2D tensor of 32-bit float values}}
  %y = llm.linear %x, %w : (tensor<?x8xf16>, tensor<4x8xf16>) -> tensor<?x4xf16>
  return
}

// -----

func.func @slice_end(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{columns 6 to 10 lie outside of 8}}
  %y = llm.slice %x at 6 : (tensor<?x8xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @slice_begin(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{columns -1 to 3 lie outside of 8}}
  %y = llm.slice %x at -1 : (tensor<?x8xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @add_widths(%x: tensor<?x8xf32>, %y: tensor<?x4xf32>) {
  // expected-error @+1 {{operands and result must be equally wide}}
  %z = llm.add %x, %y : (tensor<?x8xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @mul_widths(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{operands and result must be equally wide}}
  %z = llm.mul %x, %x : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @silu_width(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{operand and result must be equally wide}}
  %z = llm.silu %x : (tensor<?x8xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @gather_rows_width(%x: tensor<?x8xf32>, %rows: tensor<?xi32>) {
  // expected-error @+1 {{operand and result must be equally wide}}
  %z = llm.gather_rows %x, %rows : (tensor<?x8xf32>, tensor<?xi32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @glu_widths(%gate: tensor<?x8xf32>, %up: tensor<?x4xf32>) {
  // expected-error @+1 {{gate, up and result must be equally wide}}
  %z = llm.glu %gate, %up : (tensor<?x8xf32>, tensor<?x4xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @rope_table(%positions: tensor<?xi32>) {
  // expected-error @+1 {{table width 8 is not twice the 2 frequencies}}
  %t = llm.rope_table %positions {inv_freq = array<f32: 1.0, 0.5>, factor = 1.0 : f64} : (tensor<?xi32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @rope_heads(%x: tensor<?x10xf32>, %t: tensor<?x4xf32>) {
  // expected-error @+1 {{width is not a multiple of head_dim}}
  %y = llm.rope %x, %t {head_dim = 4 : i64} : (tensor<?x10xf32>, tensor<?x4xf32>) -> tensor<?x10xf32>
  return
}

// -----

func.func @rope_too_many_dims(%x: tensor<?x8xf32>, %t: tensor<?x8xf32>) {
  // expected-error @+1 {{rotates more dims than a head has}}
  %y = llm.rope %x, %t {head_dim = 4 : i64} : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
  return
}

// -----

func.func @rope_result(%x: tensor<?x8xf32>, %t: tensor<?x4xf32>) {
  // expected-error @+1 {{operand and result must be equally wide}}
  %y = llm.rope %x, %t {head_dim = 4 : i64} : (tensor<?x8xf32>, tensor<?x4xf32>) -> tensor<?x4xf32>
  return
}

// -----

func.func @kv_cache_heads() {
  // expected-error @+1 {{needs layer and window >= 0, kv_heads and head_dim > 0}}
  %c = llm.kv_cache {layer = 0 : i64, window = 0 : i64, kv_heads = 0 : i64, head_dim = 4 : i64, element = bf16}
  return
}

// -----

func.func @kv_cache_element() {
  // expected-error @+1 {{holds f32, f16, bf16 or i8, found 'i16'}}
  %c = llm.kv_cache {layer = 0 : i64, window = 0 : i64, kv_heads = 2 : i64, head_dim = 4 : i64, element = i16}
  return
}

// -----

func.func @kv_write_widths(%k: tensor<?x8xf32>, %v: tensor<?x4xf32>) {
  %c = llm.kv_cache {layer = 0 : i64, window = 0 : i64, kv_heads = 2 : i64, head_dim = 4 : i64, element = bf16}
  // expected-error @+1 {{k and v must be equally wide}}
  %d = llm.kv_write %k, %v into %c : tensor<?x8xf32>, tensor<?x4xf32>
  return
}

// -----

func.func @rope_kv_write_heads(%q: tensor<?x10xf32>, %k: tensor<?x8xf32>, %t: tensor<?x4xf32>) {
  %c = llm.kv_cache {layer = 0 : i64, window = 0 : i64, kv_heads = 2 : i64, head_dim = 4 : i64, element = bf16}
  // expected-error @+1 {{q, k and v must be whole heads of 4}}
  %o, %d = llm.rope_kv_write %q, %k, %k table %t into %c {head_dim = 4 : i64, eps = 0.0 : f64}
      : tensor<?x10xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x4xf32> -> tensor<?x10xf32>
  return
}

// -----

func.func @rope_kv_write_values(%q: tensor<?x8xf32>, %v: tensor<?x4xf32>, %t: tensor<?x4xf32>) {
  %c = llm.kv_cache {layer = 0 : i64, window = 0 : i64, kv_heads = 2 : i64, head_dim = 4 : i64, element = bf16}
  // expected-error @+1 {{k and v must be equally wide}}
  %o, %d = llm.rope_kv_write %q, %q, %v table %t into %c {head_dim = 4 : i64, eps = 0.0 : f64}
      : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x4xf32>, tensor<?x4xf32> -> tensor<?x8xf32>
  return
}

// -----

func.func @attention_groups(%q: tensor<?x12xf32>, %c: !llm.kv_cache) {
  // expected-error @+1 {{needs heads to be a multiple of kv_heads, found 3 and 2}}
  %a = llm.attention %q, %c {heads = 3 : i64, kv_heads = 2 : i64, head_dim = 4 : i64, window = 0 : i64, scale = 0.5 : f64,
                             kv_element = bf16} : (tensor<?x12xf32>) -> tensor<?x12xf32>
  return
}

// -----

func.func @attention_width(%q: tensor<?x12xf32>, %c: !llm.kv_cache) {
  // expected-error @+1 {{query and result must be 16 wide (heads * head_dim)}}
  %a = llm.attention %q, %c {heads = 4 : i64, kv_heads = 2 : i64, head_dim = 4 : i64, window = 0 : i64, scale = 0.5 : f64,
                             kv_element = bf16} : (tensor<?x12xf32>) -> tensor<?x12xf32>
  return
}

// -----

func.func @rope_kv_write_result(%q: tensor<?x8xf32>, %t: tensor<?x4xf32>) {
  %c = llm.kv_cache {layer = 0 : i64, window = 0 : i64, kv_heads = 2 : i64, head_dim = 4 : i64, element = bf16}
  // expected-error @+1 {{q and its result must be equally wide}}
  %o, %d = llm.rope_kv_write %q, %q, %q table %t into %c {head_dim = 4 : i64, eps = 0.0 : f64}
      : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x4xf32> -> tensor<?x16xf32>
  return
}

// -----

// In generic form, where the grammar does not pair them.
func.func @rope_kv_write_one_norm(%q: tensor<?x8xf32>, %t: tensor<?x4xf32>, %n: tensor<4xf32>, %c: !llm.kv_cache) {
  // expected-error @+1 {{takes both norms or neither}}
  %o, %d = "llm.rope_kv_write"(%q, %q, %q, %t, %n, %c) <{eps = 0.0 : f64, head_dim = 4 : i64,
      operandSegmentSizes = array<i32: 1, 1, 1, 1, 1, 0, 1>}>
      : (tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x4xf32>, tensor<4xf32>, !llm.kv_cache) -> (tensor<?x8xf32>, !llm.kv_cache)
  return
}

// -----

func.func @rope_kv_write_norm_width(%q: tensor<?x8xf32>, %t: tensor<?x4xf32>, %n: tensor<8xf32>) {
  %c = llm.kv_cache {layer = 0 : i64, window = 0 : i64, kv_heads = 2 : i64, head_dim = 4 : i64, element = bf16}
  // expected-error @+1 {{norms must have 4 elements, one head's}}
  %o, %d = llm.rope_kv_write %q, %q, %q table %t norms %n, %n : tensor<8xf32>, tensor<8xf32> into %c {head_dim = 4 : i64, eps = 0.0 : f64}
      : tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x8xf32>, tensor<?x4xf32> -> tensor<?x8xf32>
  return
}

// -----

func.func @unranked(%x: tensor<*xf32>) {
  // expected-error @+1 {{must be 2D tensor of 32-bit float values}}
  %y = llm.silu %x : (tensor<*xf32>) -> tensor<*xf32>
  return
}

// -----

func.func @fused_linear_epilogue(%x: tensor<?x8xbf16>, %w: tensor<32x8xbf16>) {
  // expected-error @+1 {{epilogue is 'plain', 'glu' or 'add', found 'gelu'}}
  %y = llm.fused_linear "gelu" %x, %w {eps = 0.0 : f64, resultSegmentSizes = array<i32: 1, 0, 0>}
      : (tensor<?x8xbf16>, tensor<32x8xbf16>) -> tensor<?x32xf32>
  return
}

// -----

func.func @fused_linear_input(%x: tensor<?x16xbf16>, %w: tensor<32x8xbf16>) {
  // expected-error @+1 {{input width 16 differs from the weight's 8}}
  %y = llm.fused_linear "plain" %x, %w {eps = 0.0 : f64, resultSegmentSizes = array<i32: 1, 0, 0>}
      : (tensor<?x16xbf16>, tensor<32x8xbf16>) -> tensor<?x32xf32>
  return
}

// -----

func.func @fused_linear_odd_halves(%x: tensor<?x8xbf16>, %w: tensor<33x8xbf16>) {
  // expected-error @+1 {{'glu' needs an even number of weight rows, found 33}}
  %y = llm.fused_linear "glu" %x, %w {eps = 0.0 : f64, resultSegmentSizes = array<i32: 1, 0, 0>}
      : (tensor<?x8xbf16>, tensor<33x8xbf16>) -> tensor<?x16xf32>
  return
}

// -----

func.func @fused_linear_width(%x: tensor<?x8xbf16>, %w: tensor<32x8xbf16>) {
  // expected-error @+1 {{result width 16, expected 32}}
  %y = llm.fused_linear "plain" %x, %w {eps = 0.0 : f64, resultSegmentSizes = array<i32: 1, 0, 0>}
      : (tensor<?x8xbf16>, tensor<32x8xbf16>) -> tensor<?x16xf32>
  return
}

// -----

func.func @fused_linear_glu_width(%x: tensor<?x8xbf16>, %w: tensor<32x8xbf16>) {
  // expected-error @+1 {{result width 32, expected 16}}
  %y = llm.fused_linear "glu" %x, %w {eps = 0.0 : f64, resultSegmentSizes = array<i32: 1, 0, 0>}
      : (tensor<?x8xbf16>, tensor<32x8xbf16>) -> tensor<?x32xf32>
  return
}

// -----

func.func @fused_linear_narrow_result(%x: tensor<?x8xbf16>, %w: tensor<32x8xbf16>) {
  // expected-error @+1 {{result is float32 but for 'glu'}}
  %y = llm.fused_linear "plain" %x, %w {eps = 0.0 : f64, resultSegmentSizes = array<i32: 1, 0, 0>}
      : (tensor<?x8xbf16>, tensor<32x8xbf16>) -> tensor<?x32xbf16>
  return
}

// -----

func.func @fused_linear_bias(%x: tensor<?x8xbf16>, %w: tensor<32x8xbf16>, %b: tensor<16xbf16>) {
  // expected-error @+1 {{bias of 16 elements, expected 32}}
  %y = llm.fused_linear "plain" %x, %w bias %b {eps = 0.0 : f64, resultSegmentSizes = array<i32: 1, 0, 0>}
      : (tensor<?x8xbf16>, tensor<32x8xbf16>, tensor<16xbf16>) -> tensor<?x32xf32>
  return
}

// -----

func.func @fused_linear_no_residual(%x: tensor<?x8xbf16>, %w: tensor<32x8xbf16>) {
  // expected-error @+1 {{takes a residual exactly for 'add'}}
  %y = llm.fused_linear "add" %x, %w {eps = 0.0 : f64, resultSegmentSizes = array<i32: 1, 0, 0>}
      : (tensor<?x8xbf16>, tensor<32x8xbf16>) -> tensor<?x32xf32>
  return
}

// -----

func.func @fused_linear_residual_of_plain(%x: tensor<?x8xbf16>, %w: tensor<32x8xbf16>, %r: tensor<?x32xf32>) {
  // expected-error @+1 {{takes a residual exactly for 'add'}}
  %y = llm.fused_linear "plain" %x, %w residual %r {eps = 0.0 : f64, resultSegmentSizes = array<i32: 1, 0, 0>}
      : (tensor<?x8xbf16>, tensor<32x8xbf16>, tensor<?x32xf32>) -> tensor<?x32xf32>
  return
}

// -----

func.func @fused_linear_residual_width(%x: tensor<?x8xbf16>, %w: tensor<32x8xbf16>, %r: tensor<?x16xf32>) {
  // expected-error @+1 {{residual width differs from the result's}}
  %y = llm.fused_linear "add" %x, %w residual %r {eps = 0.0 : f64, resultSegmentSizes = array<i32: 1, 0, 0>}
      : (tensor<?x8xbf16>, tensor<32x8xbf16>, tensor<?x16xf32>) -> tensor<?x32xf32>
  return
}

// -----

func.func @fused_linear_norm_of_glu(%x: tensor<?x8xbf16>, %w: tensor<32x8xbf16>, %n: tensor<16xbf16>) {
  // expected-error @+1 {{norm weights go with 'add' and have 16 elements}}
  %y = llm.fused_linear "glu" %x, %w norm %n {eps = 0.0 : f64, resultSegmentSizes = array<i32: 1, 0, 0>}
      : (tensor<?x8xbf16>, tensor<32x8xbf16>, tensor<16xbf16>) -> tensor<?x16xf32>
  return
}

// -----

func.func @fused_linear_norm_width(%x: tensor<?x8xbf16>, %w: tensor<32x8xbf16>, %r: tensor<?x32xf32>, %n: tensor<8xbf16>) {
  // expected-error @+1 {{norm weights go with 'add' and have 32 elements}}
  %y = llm.fused_linear "add" %x, %w residual %r norm %n {eps = 0.0 : f64, resultSegmentSizes = array<i32: 1, 0, 0>}
      : (tensor<?x8xbf16>, tensor<32x8xbf16>, tensor<?x32xf32>, tensor<8xbf16>) -> tensor<?x32xf32>
  return
}

// -----

func.func @fused_linear_norm_without_results(%x: tensor<?x8xbf16>, %w: tensor<32x8xbf16>, %r: tensor<?x32xf32>, %n: tensor<32xbf16>) {
  // expected-error @+1 {{has the results 'scaled' and 'squares_out' exactly with norm weights}}
  %y = llm.fused_linear "add" %x, %w residual %r norm %n {eps = 0.0 : f64, resultSegmentSizes = array<i32: 1, 0, 0>}
      : (tensor<?x8xbf16>, tensor<32x8xbf16>, tensor<?x32xf32>, tensor<32xbf16>) -> tensor<?x32xf32>
  return
}

// -----

func.func @fused_linear_results_without_norm(%x: tensor<?x8xbf16>, %w: tensor<32x8xbf16>, %r: tensor<?x32xf32>) {
  // expected-error @+1 {{has the results 'scaled' and 'squares_out' exactly with norm weights}}
  %y:3 = llm.fused_linear "add" %x, %w residual %r {eps = 0.0 : f64, resultSegmentSizes = array<i32: 1, 1, 1>}
      : (tensor<?x8xbf16>, tensor<32x8xbf16>, tensor<?x32xf32>) -> (tensor<?x32xf32>, tensor<?x32xbf16>, tensor<?x2xf32>)
  return
}

// -----

func.func @fused_linear_scaled_width(%x: tensor<?x8xbf16>, %w: tensor<32x8xbf16>, %r: tensor<?x32xf32>, %n: tensor<32xbf16>) {
  // expected-error @+1 {{scaled result width differs from the result's}}
  %y:3 = llm.fused_linear "add" %x, %w residual %r norm %n {eps = 0.0 : f64, resultSegmentSizes = array<i32: 1, 1, 1>}
      : (tensor<?x8xbf16>, tensor<32x8xbf16>, tensor<?x32xf32>, tensor<32xbf16>) -> (tensor<?x32xf32>, tensor<?x16xbf16>, tensor<?x2xf32>)
  return
}

// -----

func.func @fused_linear_squares_width(%x: tensor<?x8xbf16>, %w: tensor<32x8xbf16>, %r: tensor<?x32xf32>, %n: tensor<32xbf16>) {
  // expected-error @+1 {{sums of squares have 1 columns, expected 2}}
  %y:3 = llm.fused_linear "add" %x, %w residual %r norm %n {eps = 0.0 : f64, resultSegmentSizes = array<i32: 1, 1, 1>}
      : (tensor<?x8xbf16>, tensor<32x8xbf16>, tensor<?x32xf32>, tensor<32xbf16>) -> (tensor<?x32xf32>, tensor<?x32xbf16>, tensor<?x1xf32>)
  return
}

// -----

func.func @linear_rope_kv_no_heads(%x: tensor<?x8xbf16>, %w: tensor<32x8xbf16>, %t: tensor<?x8xf32>, %c: !llm.kv_cache) {
  // expected-error @+1 {{needs heads, kv_heads and head_dim > 0}}
  %q, %d = llm.linear_rope_kv %x, %w table %t into %c {heads = 2 : i64, kv_heads = 0 : i64, head_dim = 8 : i64, eps = 0.0 : f64}
      : (tensor<?x8xbf16>, tensor<32x8xbf16>, tensor<?x8xf32>, !llm.kv_cache) -> (tensor<?x16xf32>, !llm.kv_cache)
  return
}

// -----

func.func @linear_rope_kv_input(%x: tensor<?x16xbf16>, %w: tensor<32x8xbf16>, %t: tensor<?x8xf32>, %c: !llm.kv_cache) {
  // expected-error @+1 {{input width 16 differs from the weight's 8}}
  %q, %d = llm.linear_rope_kv %x, %w table %t into %c {heads = 2 : i64, kv_heads = 1 : i64, head_dim = 8 : i64, eps = 0.0 : f64}
      : (tensor<?x16xbf16>, tensor<32x8xbf16>, tensor<?x8xf32>, !llm.kv_cache) -> (tensor<?x16xf32>, !llm.kv_cache)
  return
}

// -----

func.func @linear_rope_kv_partial_heads(%x: tensor<?x8xbf16>, %w: tensor<40x8xbf16>, %t: tensor<?x8xf32>, %c: !llm.kv_cache) {
  // expected-error @+1 {{weight rows are not whole heads of q, k and v}}
  %q, %d = llm.linear_rope_kv %x, %w table %t into %c {heads = 2 : i64, kv_heads = 1 : i64, head_dim = 8 : i64, eps = 0.0 : f64}
      : (tensor<?x8xbf16>, tensor<40x8xbf16>, tensor<?x8xf32>, !llm.kv_cache) -> (tensor<?x16xf32>, !llm.kv_cache)
  return
}

// -----

func.func @linear_rope_kv_bias(%x: tensor<?x8xbf16>, %w: tensor<32x8xbf16>, %t: tensor<?x8xf32>, %c: !llm.kv_cache, %b: tensor<16xbf16>) {
  // expected-error @+1 {{bias of 16 elements, expected 32}}
  %q, %d = llm.linear_rope_kv %x, %w bias %b table %t into %c {heads = 2 : i64, kv_heads = 1 : i64, head_dim = 8 : i64, eps = 0.0 : f64}
      : (tensor<?x8xbf16>, tensor<32x8xbf16>, tensor<16xbf16>, tensor<?x8xf32>, !llm.kv_cache) -> (tensor<?x16xf32>, !llm.kv_cache)
  return
}

// -----

func.func @linear_rope_kv_table(%x: tensor<?x8xbf16>, %w: tensor<32x8xbf16>, %t: tensor<?x16xf32>, %c: !llm.kv_cache) {
  // expected-error @+1 {{rotates more dims than a head has}}
  %q, %d = llm.linear_rope_kv %x, %w table %t into %c {heads = 2 : i64, kv_heads = 1 : i64, head_dim = 8 : i64, eps = 0.0 : f64}
      : (tensor<?x8xbf16>, tensor<32x8xbf16>, tensor<?x16xf32>, !llm.kv_cache) -> (tensor<?x16xf32>, !llm.kv_cache)
  return
}

// -----

func.func @linear_rope_kv_width(%x: tensor<?x8xbf16>, %w: tensor<32x8xbf16>, %t: tensor<?x8xf32>, %c: !llm.kv_cache) {
  // expected-error @+1 {{result width 32, expected 16}}
  %q, %d = llm.linear_rope_kv %x, %w table %t into %c {heads = 2 : i64, kv_heads = 1 : i64, head_dim = 8 : i64, eps = 0.0 : f64}
      : (tensor<?x8xbf16>, tensor<32x8xbf16>, tensor<?x8xf32>, !llm.kv_cache) -> (tensor<?x32xf32>, !llm.kv_cache)
  return
}
// -----

// expected-error @+1 {{code is u2, u3, u4, u8, e4m3, nf4 or fp4, found 'u5'}}
func.func private @quantized_code(!llm.quantized<u5, group 32, scale f16>)

// -----

// expected-error @+1 {{group is a positive number of columns, found 0}}
func.func private @quantized_group(!llm.quantized<u4, group 0, scale f16>)

// -----

// expected-error @+1 {{scale is f32, f16 or bf16, found 'i8'}}
func.func private @quantized_scale(!llm.quantized<u4, group 32, scale i8>)

// -----

// expected-error @+1 {{only integer codes have zeros, found them with 'nf4'}}
func.func private @quantized_zeros(!llm.quantized<nf4, group 32, scale f32, zeros>)

// -----

// expected-error @+1 {{expected 'zeros', then 'ordered'}}
func.func private @quantized_flags(!llm.quantized<u4, group 32, scale f32, ordered, zeros>)

// -----

#codes = #llm.packed<key = "c", wordBytes = 4, bits = 4, unitValues = 8, unitWords = 1, wordStride = 1, lineStride = 8>
#scales = #llm.scales<key = "s", type = f16, rowBlock = 1, rowStride = 1, groupStride = 16>
func.func @quantized_part_of_plain_weight() {
  // expected-error @+1 {{is of type 'tensor<16x64xf16>', but has a quantized part}}
  %w = llm.weight [#llm.quantized_part<rows = 16, codes = #codes, scales = #scales>] : tensor<16x64xf16>
  return
}

// -----

func.func @dense_part_of_ordered_weight() {
  // expected-error @+1 {{is ordered, but has the dense part #llm.part<"w" rows 0 to 16 cols 0 to 64>}}
  %w = llm.weight [#llm.part<"w" rows 0 to 16 cols 0 to 64>] : tensor<16x64x!llm.quantized<u4, group 32, scale f16, ordered>>
  return
}

// -----

#codes = #llm.packed<key = "c", wordBytes = 4, bits = 4, unitValues = 8, unitWords = 1, wordStride = 1, lineStride = 8>
#scales = #llm.scales<key = "s", type = f16, rowBlock = 1, rowStride = 1, groupStride = 16>
func.func @quantized_without_zeros() {
  // expected-error @+1 {{needs zeros in each part exactly if its type has them}}
  %w = llm.weight [#llm.quantized_part<rows = 16, codes = #codes, scales = #scales>] : tensor<16x64x!llm.quantized<u4, group 32, scale f16, zeros>>
  return
}

// -----

#codes = #llm.packed<key = "c", wordBytes = 4, bits = 4, unitValues = 8, unitWords = 1, wordStride = 1, lineStride = 8>
#scales = #llm.scales<key = "s", type = f16, rowBlock = 1, rowStride = 1, groupStride = 16>
func.func @quantized_without_order() {
  // expected-error @+1 {{needs groupOf in each part exactly if its type is ordered}}
  %w = llm.weight [#llm.quantized_part<rows = 16, codes = #codes, scales = #scales>] : tensor<16x64x!llm.quantized<u4, group 32, scale f16, ordered>>
  return
}

// -----

#codes = #llm.packed<key = "c", wordBytes = 4, bits = 4, unitValues = 8, unitWords = 1, wordStride = 1, lineStride = 8>
#scales = #llm.scales<key = "s", type = f16, rowBlock = 1, rowStride = 1, groupStride = 16>
func.func @quantized_wide_group() {
  // expected-error @+1 {{has groups of 128 columns, more than its 64}}
  %w = llm.weight [#llm.quantized_part<rows = 16, codes = #codes, scales = #scales>] : tensor<16x64x!llm.quantized<u4, group 128, scale f16>>
  return
}

// -----

func.func @gather_columns_width(%x: tensor<?x64xf32>) {
  %g = llm.weight [#llm.part<"g" rows 0 to 32 cols 0 to 1>] : tensor<32xi32>
  // expected-error @+1 {{needs a group for each of 64 columns, found 32}}
  %y = llm.gather_columns %x by %g {group = 32 : i64} : (tensor<?x64xf32>, tensor<32xi32>) -> tensor<?x64xf32>
  return
}

// -----

func.func @gather_columns_type(%x: tensor<?x64xf32>) {
  %g = llm.weight [#llm.part<"g" rows 0 to 64 cols 0 to 1>] : tensor<64xi32>
  // expected-error @+1 {{operand and result must have one element type}}
  %y = llm.gather_columns %x by %g {group = 32 : i64} : (tensor<?x64xf32>, tensor<64xi32>) -> tensor<?x64xf16>
  return
}

// -----

// expected-error @+1 {{int8 rows have groups of a multiple of 32 columns, found 16}}
func.func private @int8_group(!llm.int8_rows<group 16, bits 4>)

// -----

// expected-error @+1 {{int8 rows are for weights of 2, 4 or 8 bits, found 3}}
func.func private @int8_bits(!llm.int8_rows<group 32, bits 3>)

// -----

func.func @int8_width(%x: tensor<?x48xf32>) {
  // expected-error @+1 {{width 48 is not a multiple of the group, 32}}
  %r = llm.quantize_rows %x : (tensor<?x48xf32>) -> tensor<?x48x!llm.int8_rows<group 32, bits 4>>
  return
}

// -----

func.func @int8_times_bf16(%x: tensor<?x64x!llm.int8_rows<group 32, bits 4>>, %w: tensor<16x64xbf16>) {
  // expected-error @+1 {{cannot multiply '!llm.int8_rows<group 32, bits 4>' with a weight of 'bf16'}}
  %y = llm.linear %x, %w : (tensor<?x64x!llm.int8_rows<group 32, bits 4>>, tensor<16x64xbf16>) -> tensor<?x16xf32>
  return
}

// -----

func.func @dequantize_to_another_shape() {
  %w = llm.weight [#llm.part<"w" rows 0 to 16 cols 0 to 64>] : tensor<16x64x!llm.quantized<u4, group 32, scale f16>>
  // expected-error @+1 {{operand and result must have the same shape}}
  %d = llm.dequantize %w : (tensor<16x64x!llm.quantized<u4, group 32, scale f16>>) -> tensor<16x32xf16>
  return
}
