// What the verifiers of the exec dialect refuse.
// RUN: llmc-opt %s -verify-diagnostics -split-input-file

// expected-error @+1 {{needs parts of 8 columns, found #llm.part<"q" rows 0 to 16 cols 0 to 4>}}
exec.weight @w [#llm.part<"q" rows 0 to 16 cols 0 to 4>] : 16 x 8 x f32 {layout = "rows", bytes = 512 : i64}

// -----

// expected-error @+1 {{needs parts of 24 rows in all, found 16}}
exec.weight @w [#llm.part<"q" rows 0 to 16 cols 0 to 8>] : 24 x 8 x f32 {layout = "rows", bytes = 768 : i64}

// -----

// expected-error @+1 {{layout is 'rows', 'interleaved16', 'row_scale', 'quantized' or 'order', found 'columns'}}
exec.weight @w [#llm.part<"q" rows 0 to 16 cols 0 to 8>] : 16 x 8 x f32 {layout = "columns", bytes = 512 : i64}

// -----

// expected-error @+1 {{kind is 'forward', 'sample' or 'init', found 'backward'}}
exec.program @p "backward" tokens 1 seqs 1 logits 1 {
}

// -----

// expected-error @+1 {{needs tokens, seqs and logits > 0}}
exec.program @p "forward" tokens 0 seqs 1 logits 1 {
}

// -----

exec.program @p "forward" tokens 1 seqs 1 logits 1 {
  // expected-error @+1 {{needs a positive size, found 0}}
  %0 = exec.buffer "x" 0
}

// -----

exec.program @p "forward" tokens 1 seqs 1 logits 1 {
  // expected-error @+1 {{has a negative offset}}
  %0 = exec.buffer "x" 16 at -256
}

// -----

exec.program @p "forward" tokens 1 seqs 1 logits 1 {
  // expected-error @+1 {{needs a grid of three dimensions, found 2}}
  exec.launch @k grid [1, 1] () {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, layer = "", op = "add"}
}

// -----

exec.program @p "forward" tokens 1 seqs 1 logits 1 {
  // expected-error @+1 {{needs positive grid extents, found 0}}
  exec.launch @k grid [1, 0, 1] () {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, layer = "", op = "add"}
}

// -----

exec.program @p "forward" tokens 1 seqs 1 logits 1 {
  // expected-error @+1 {{needs five cost coefficients}}
  exec.launch @k grid [1, 1, 1] () {bytes = array<f64: 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, layer = "", op = "add"}
}

// -----

exec.program @p "forward" tokens 1 seqs 1 logits 1 {
  // expected-error @+1 {{unknown slot "text"}}
  exec.launch @k grid [1, 1, 1] ("text") {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, layer = "", op = "add"}
}

// -----

exec.program @p "forward" tokens 1 seqs 1 logits 1 {
  %0 = exec.io "counts"
  // expected-error @+1 {{has a negative offset in slot #exec.ptr<0 + -4>}}
  exec.launch @k grid [1, 1, 1] (read %0 + -4) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, layer = "", op = "add"}
}

// -----

exec.program @p "forward" tokens 1 seqs 1 logits 1 {
  // expected-error @+1 {{number 0 waits for launch 0, which does not come before it}}
  exec.launch @k grid [1, 1, 1] () after [0] {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, layer = "", op = "add"}
}

// -----

// The rest can only be said in generic form.
exec.program @p "forward" tokens 1 seqs 1 logits 1 {
  %0 = exec.io "counts"
  // expected-error @+1 {{needs one access mode per pointer: 1 pointers, 2 modes}}
  "exec.launch"(%0) <{kernel = @k, grid = array<i64: 1, 1, 1>, slots = [#exec.ptr<0>], access = array<i8: 1, 1>, op = "add", layer = "",
    bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>}> : (!exec.ptr) -> ()
}

// -----

exec.program @p "forward" tokens 1 seqs 1 logits 1 {
  %0 = exec.io "counts"
  // expected-error @+1 {{unknown access mode 4}}
  "exec.launch"(%0) <{kernel = @k, grid = array<i64: 1, 1, 1>, slots = [#exec.ptr<0>], access = array<i8: 4>, op = "add", layer = "",
    bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>}> : (!exec.ptr) -> ()
}

// -----

exec.program @p "forward" tokens 1 seqs 1 logits 1 {
  %0 = exec.io "counts"
  // expected-error @+1 {{slot names pointer 1 of 1, expected 0}}
  "exec.launch"(%0) <{kernel = @k, grid = array<i64: 1, 1, 1>, slots = [#exec.ptr<1>], access = array<i8: 1>, op = "add", layer = "",
    bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>}> : (!exec.ptr) -> ()
}

// -----

exec.program @p "forward" tokens 1 seqs 1 logits 1 {
  %0 = exec.io "counts"
  // expected-error @+1 {{slot names pointer 0 of 1, expected 1}}
  "exec.launch"(%0) <{kernel = @k, grid = array<i64: 1, 1, 1>, slots = [#exec.ptr<0>, #exec.ptr<0>], access = array<i8: 1>, op = "add", layer = "",
    bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>}> : (!exec.ptr) -> ()
}

// -----

exec.program @p "forward" tokens 1 seqs 1 logits 1 {
  %0 = exec.io "counts"
  // expected-error @+1 {{has 1 pointers, but its slots name 0}}
  "exec.launch"(%0) <{kernel = @k, grid = array<i64: 1, 1, 1>, slots = [], access = array<i8: 1>, op = "add", layer = "",
    bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>}> : (!exec.ptr) -> ()
}

// -----

exec.program @gemm_type "forward" tokens 1 seqs 1 logits 1 {
  %x = exec.buffer "x" 4096
  %y = exec.buffer "y" 4096
  %w = exec.weight_ptr @w
  %s = exec.state "gemm_workspace"
  // expected-error @+1 {{element is f16, bf16 or f32, found 'i8'}}
  exec.gemm i8 rows 32 cols 8 k 8 (read %x, read %w, write %y, read_write %s) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "linear", layer = ""}
}

// -----

exec.program @gemm_shape "forward" tokens 1 seqs 1 logits 1 {
  %x = exec.buffer "x" 4096
  %y = exec.buffer "y" 4096
  %w = exec.weight_ptr @w
  %s = exec.state "gemm_workspace"
  // expected-error @+1 {{needs rows, cols and k from 1 to 2^31 - 1, found 0}}
  exec.gemm f16 rows 32 cols 0 k 8 (read %x, read %w, write %y, read_write %s) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "linear", layer = ""}
}

// -----

exec.program @gemm_large "forward" tokens 1 seqs 1 logits 1 {
  %x = exec.buffer "x" 4096
  %y = exec.buffer "y" 4096
  %w = exec.weight_ptr @w
  %s = exec.state "gemm_workspace"
  // expected-error @+1 {{needs rows, cols and k from 1 to 2^31 - 1, found 2147483648}}
  exec.gemm f16 rows 32 cols 8 k 2147483648 (read %x, read %w, write %y, read_write %s) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "linear", layer = ""}
}

// -----

exec.program @gemm_access "forward" tokens 1 seqs 1 logits 1 {
  %x = exec.buffer "x" 4096
  %y = exec.buffer "y" 4096
  %w = exec.weight_ptr @w
  %s = exec.state "gemm_workspace"
  // expected-error @+1 {{takes (read x, read w, write out, read_write workspace)}}
  exec.gemm f16 rows 32 cols 8 k 8 (read %x, read %w, read_write %y, read_write %s) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "linear", layer = ""}
}

// -----

exec.program @gemm_scalar "forward" tokens 1 seqs 1 logits 1 {
  %x = exec.buffer "x" 4096
  %y = exec.buffer "y" 4096
  %w = exec.weight_ptr @w
  %s = exec.state "gemm_workspace"
  // expected-error @+1 {{takes (read x, read w, write out, read_write workspace)}}
  exec.gemm f16 rows 32 cols 8 k 8 (read %x, read %w, write %y, read_write %s, 7) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "linear", layer = ""}
}

// -----

exec.program @gemm_after "forward" tokens 1 seqs 1 logits 1 {
  %x = exec.buffer "x" 4096
  %y = exec.buffer "y" 4096
  %w = exec.weight_ptr @w
  %s = exec.state "gemm_workspace"
  // expected-error @+1 {{number 0 waits for launch 0, which does not come before it}}
  exec.gemm f16 rows 32 cols 8 k 8 (read %x, read %w, write %y, read_write %s) after [0] {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, op = "linear", layer = ""}
}

// -----

exec.program @p "forward" tokens 1 seqs 1 logits 1 {
  %x = exec.buffer "x" 65536
  // expected-error @+1 {{a tensor map's element is f16, bf16 or f32, found 'f64'}}
  exec.launch @k grid [1, 1, 1] (map %x : f64 [64, 16] strides [128] box [64, 16] swizzle 128) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, layer = "", op = "linear"}
}

// -----

exec.program @p "forward" tokens 1 seqs 1 logits 1 {
  %x = exec.buffer "x" 65536
  // expected-error @+1 {{a tensor map has 2 to 5 dims, one stride fewer and as many box extents, found 2, 2 and 2}}
  exec.launch @k grid [1, 1, 1] (map %x : bf16 [64, 16] strides [128, 4096] box [64, 16] swizzle 128) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, layer = "", op = "linear"}
}

// -----

exec.program @p "forward" tokens 1 seqs 1 logits 1 {
  %x = exec.buffer "x" 65536
  // expected-error @+1 {{a tensor map's offset is a multiple of 16 bytes, found 8}}
  exec.launch @k grid [1, 1, 1] (map %x + 8 : bf16 [64, 16] strides [128] box [64, 16] swizzle 128) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, layer = "", op = "linear"}
}

// -----

exec.program @p "forward" tokens 1 seqs 1 logits 1 {
  %x = exec.buffer "x" 65536
  // expected-error @+1 {{a tensor map's strides are multiples of 16 bytes below 2^40, found 120}}
  exec.launch @k grid [1, 1, 1] (map %x : bf16 [60, 16] strides [120] box [64, 16] swizzle 128) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, layer = "", op = "linear"}
}

// -----

exec.program @p "forward" tokens 1 seqs 1 logits 1 {
  %x = exec.buffer "x" 65536
  // expected-error @+1 {{a tensor map's box extents are 1 to 256, found 512}}
  exec.launch @k grid [1, 1, 1] (map %x : bf16 [64, 512] strides [128] box [64, 512] swizzle 128) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, layer = "", op = "linear"}
}

// -----

exec.program @p "forward" tokens 1 seqs 1 logits 1 {
  %x = exec.buffer "x" 65536
  // expected-error @+1 {{a tensor map's swizzle is 0, 32, 64 or 128, found 96}}
  exec.launch @k grid [1, 1, 1] (map %x : bf16 [64, 16] strides [128] box [64, 16] swizzle 96) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, layer = "", op = "linear"}
}

// -----

exec.program @p "forward" tokens 1 seqs 1 logits 1 {
  %x = exec.buffer "x" 65536
  // expected-error @+1 {{a tensor map's box has rows of 256 bytes: a multiple of 16, at most the swizzle's span}}
  exec.launch @k grid [1, 1, 1] (map %x : bf16 [256, 16] strides [512] box [128, 16] swizzle 128) {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, layer = "", op = "linear"}
}

// -----

exec.program @p "forward" tokens 1 seqs 1 logits 1 {
  // expected-error @+1 {{a programmatic launch has exactly one predecessor}}
  exec.launch @k grid [1, 1, 1] () after [0, 1] {bytes = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, flops = array<f64: 0.0, 0.0, 0.0, 0.0, 0.0>, layer = "", op = "linear", programmatic}
}
