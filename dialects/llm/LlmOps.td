#ifndef LLMC_DIALECTS_LLM_OPS
#define LLMC_DIALECTS_LLM_OPS

include "dialects/llm/LlmDialect.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

class Llm_Op<string mnemonic, list<Trait> traits = []> : Op<Llm_Dialect, mnemonic, !listconcat([Pure], traits)>;

def FloatElement : AnyTypeOf<[F32, F16, BF16]>;
def Bf16PanelsElement : Type<CPred<"::mlir::isa<::llmc::ops::Bf16PanelsType>($_self)">, "bf16 panels">;
def Activation : TensorRankOf<[FloatElement, Bf16PanelsElement], [2]>;
def F32Activation : TensorRankOf<[F32], [2]>;
def FloatActivation : TensorRankOf<[FloatElement], [2]>;
def IntVector : TensorRankOf<[I32], [1]>;
def Matrix : TensorRankOf<[FloatElement], [2]>;
def Vector : TensorRankOf<[FloatElement], [1]>;
def QuantizedElement : Type<CPred<"::mlir::isa<::llmc::ops::QuantizedType>($_self)">, "quantized">;
def QuantizedMatrix : TensorRankOf<[QuantizedElement], [2]>;

def Int8RowsElement : Type<CPred<"::mlir::isa<::llmc::ops::Int8RowsType>($_self)">, "int8 rows">;
def Int8Activation : TensorRankOf<[Int8RowsElement], [2]>;

def Llm_WeightOp : Llm_Op<"weight"> {
  let summary = "A weight, assembled from ranges of checkpoint tensors stacked along the rows";
  let description = [{
    The parts are the recipe by which the init program fills the buffer; merged projections need no repacking, and each keeps the names and
    ranges of its source modules. A vector is a matrix of one column per element: its parts have `cols 0 to 1`.
    ```mlir
    %w = llm.weight [#llm.part<"model.layers.0.self_attn.q_proj.weight" rows 0 to 64 cols 0 to 64>] : tensor<64x64xbf16>
    ```
    Quantized weights have a `#llm.quantized_part` for each source module instead, which `init` kernels bring into the layout of the target; or
    the parts of a dense weight, which `init` kernels quantize.
    A vector of i32 holds the group of each column of such a weight (g_idx).
  }];
  let arguments = (ins TypedArrayAttrBase<AnyAttrOf<[Llm_PartAttr, Llm_QuantizedPartAttr]>, "parts">:$parts);
  let results = (outs AnyTypeOf<[Matrix, Vector, QuantizedMatrix, IntVector]>:$result);
  let assemblyFormat = "$parts attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Llm_ResolveIdsOp : Llm_Op<"resolve_ids"> {
  let summary = "Token ids of the step: an entry -1-j means what row j of the last step sampled";
  let arguments = (ins IntVector:$tokens);
  let results = (outs IntVector:$result);
  let assemblyFormat = "$tokens attr-dict `:` type($tokens) `->` type($result)";
}

def Llm_EmbedOp : Llm_Op<"embed"> {
  let summary = "Rows of the embedding table, widened to float32";
  let arguments = (ins IntVector:$ids, Matrix:$table);
  let results = (outs F32Activation:$result);
  let assemblyFormat = "$ids `,` $table attr-dict `:` functional-type(operands, $result)";
  let hasVerifier = 1;
}

def Llm_GatherRowsOp : Llm_Op<"gather_rows"> {
  let summary = "The rows whose logits are wanted";
  let arguments = (ins F32Activation:$x, IntVector:$rows);
  let results = (outs F32Activation:$result);
  let assemblyFormat = "$x `,` $rows attr-dict `:` functional-type(operands, $result)";
  let hasVerifier = 1;
}

def Llm_GatherColumnsOp : Llm_Op<"gather_columns"> {
  let summary = "The columns of x, sorted by their group: the input of linear layers whose weights are `ordered`";
  let description = [{
    `group_of` is the g_idx of the checkpoint, a weight; columns of the same group keep their order. `group` columns are of each group, fewer
    of the last. The result has the element type of x.
  }];
  let arguments = (ins FloatActivation:$x, IntVector:$group_of, I64Attr:$group);
  let results = (outs FloatActivation:$result);
  let assemblyFormat = "$x `by` $group_of attr-dict `:` functional-type(operands, $result)";
  let hasVerifier = 1;
}

def Llm_RmsNormOp : Llm_Op<"rms_norm"> {
  let summary = "x / sqrt(mean(x^2) + eps) * weight over groups of the last dimension as wide as the weight";
  let arguments = (ins F32Activation:$x, Vector:$weight, F64Attr:$eps);
  let results = (outs Activation:$result);
  let assemblyFormat = "$x `,` $weight attr-dict `:` functional-type(operands, $result)";
  let hasVerifier = 1;
}

def Llm_AddRmsNormOp : Llm_Op<"add_rms_norm"> {
  let summary = "sum = residual + delta; result = rms_norm(sum)";
  let arguments = (ins F32Activation:$residual, F32Activation:$delta, Vector:$weight, F64Attr:$eps);
  let results = (outs F32Activation:$sum, Activation:$result);
  let assemblyFormat = "$residual `,` $delta `,` $weight attr-dict `:` functional-type(operands, results)";
  let hasVerifier = 1;
}

def Llm_QuantizeRowsOp : Llm_Op<"quantize_rows"> {
  let summary = "Each group of columns of a row as int8: scale = max |x| / 127, code = x / scale rounded to the nearest, ties to even";
  let description = [{
    The input of linear layers whose weights are integer codes, once for all that share it. A group of zeros has the scale 0.
  }];
  let arguments = (ins F32Activation:$x);
  let results = (outs Int8Activation:$result);
  let assemblyFormat = "$x attr-dict `:` functional-type(operands, $result)";
  let hasVerifier = 1;
}

def Llm_LinearOp : Llm_Op<"linear"> {
  let summary = "x @ weight^T (+ bias), accumulated in float32; products of int8 rows with integer codes in int32 for each group";
  let arguments = (ins AnyTypeOf<[Activation, Int8Activation]>:$x, AnyTypeOf<[Matrix, QuantizedMatrix]>:$weight, Optional<Vector>:$bias);
  let results = (outs F32Activation:$result);
  let assemblyFormat = "$x `,` $weight (`bias` $bias^)? attr-dict `:` functional-type(operands, $result)";
  let hasVerifier = 1;
}

def Llm_DequantizeOp : Llm_Op<"dequantize", [Pure]> {
  let summary = "A quantized weight as a dense one, its columns in the same order, rounded to the result's type: for steps of many tokens";
  let arguments = (ins QuantizedMatrix:$weight);
  let results = (outs Matrix:$result);
  let assemblyFormat = "$weight attr-dict `:` functional-type(operands, $result)";
  let hasVerifier = 1;
}

def Llm_FusedLinearOp : Llm_Op<"fused_linear", [AttrSizedOperandSegments, AttrSizedResultSegments]> {
  let summary = "A linear layer with the norm before it, and with the activation or the residual behind it";
  let description = [{
    p = s * (x @ weight^T) (+ bias), where s is 1, or with `squares` the scale 1 / sqrt(mean square + eps) of an RMS norm whose weight is already
    in x: sum over the columns of `squares` / width of x = mean square. `epilogue`:
      "plain": result = p.
      "glu":   result = silu(first half of p) * second half.
      "add":   result = residual + p; with `norm_weight` also scaled = result * norm_weight, and squares_out = the sums of squares of 16
               columns of the result each: what the next norm's projections take as x and `squares`.
  }];
  let arguments = (ins AnyTypeOf<[Activation, Int8Activation]>:$x, AnyTypeOf<[Matrix, QuantizedMatrix]>:$weight, Optional<Vector>:$bias,
                       Optional<F32Activation>:$squares, Optional<F32Activation>:$residual, Optional<Vector>:$norm_weight, StrAttr:$epilogue, F64Attr:$eps);
  let results = (outs Activation:$result, Optional<Activation>:$scaled, Optional<F32Activation>:$squares_out);
  let assemblyFormat = [{
    $epilogue $x `,` $weight (`bias` $bias^)? (`squares` $squares^)? (`residual` $residual^)? (`norm` $norm_weight^)? attr-dict
    `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    bool isGlu() { return getEpilogue() == "glu"; }
    bool isAdd() { return getEpilogue() == "add"; }
    static constexpr int64_t kSquareColumns = 16;  // columns of the result that one column of squares_out sums
  }];
}

def Llm_LinearRopeKvOp : Llm_Op<"linear_rope_kv", [AttrSizedOperandSegments]> {
  let summary = "The merged projections of q, k and v, RoPE on q and k, and the cache write";
  let description = [{
    As llm.fused_linear with the epilogue "plain", the heads of q, k and v one behind the other in its result, and llm.rope_kv_write behind it.
  }];
  let arguments = (ins Activation:$x, AnyTypeOf<[Matrix, QuantizedMatrix]>:$weight, Optional<Vector>:$bias, Optional<F32Activation>:$squares,
                       F32Activation:$table,
                       Llm_KvCacheType:$cache, I64Attr:$heads, I64Attr:$kv_heads, I64Attr:$head_dim, F64Attr:$eps);
  let results = (outs F32Activation:$q_out, Llm_KvCacheType:$cache_out);
  let assemblyFormat = [{
    $x `,` $weight (`bias` $bias^)? (`squares` $squares^)? `table` $table `into` $cache attr-dict `:` functional-type(operands, results)
  }];
  let hasVerifier = 1;
}

def Llm_SliceOp : Llm_Op<"slice"> {
  let summary = "Columns [offset, offset + width) of a value; a view, never copied";
  let arguments = (ins F32Activation:$x, I64Attr:$offset);
  let results = (outs F32Activation:$result);
  let assemblyFormat = "$x `at` $offset attr-dict `:` functional-type(operands, $result)";
  let hasFolder = 1;
  let hasVerifier = 1;
}

def Llm_AddOp : Llm_Op<"add", [Commutative]> {
  let summary = "Elementwise sum";
  let arguments = (ins F32Activation:$lhs, F32Activation:$rhs);
  let results = (outs F32Activation:$result);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` functional-type(operands, $result)";
  let hasVerifier = 1;
}

def Llm_MulOp : Llm_Op<"mul", [Commutative]> {
  let summary = "Elementwise product";
  let arguments = (ins F32Activation:$lhs, F32Activation:$rhs);
  let results = (outs Activation:$result);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` functional-type(operands, $result)";
  let hasVerifier = 1;
}

def Llm_SiluOp : Llm_Op<"silu"> {
  let summary = "x / (1 + exp(-x))";
  let arguments = (ins F32Activation:$x);
  let results = (outs F32Activation:$result);
  let assemblyFormat = "$x attr-dict `:` functional-type(operands, $result)";
  let hasVerifier = 1;
}

def Llm_GluOp : Llm_Op<"glu"> {
  let summary = "silu(gate) * up";
  let arguments = (ins F32Activation:$gate, F32Activation:$up);
  let results = (outs Activation:$result);
  let assemblyFormat = "$gate `,` $up attr-dict `:` functional-type(operands, $result)";
  let hasVerifier = 1;
}

def Llm_RopeTableOp : Llm_Op<"rope_table"> {
  let summary = "cos and sin of position * inv_freq, times the attention factor: [T, 2 * half]";
  let arguments = (ins IntVector:$positions, DenseF32ArrayAttr:$inv_freq, F64Attr:$factor);
  let results = (outs F32Activation:$result);
  let assemblyFormat = "$positions attr-dict `:` functional-type($positions, $result)";
  let hasVerifier = 1;
}

def Llm_RopeOp : Llm_Op<"rope"> {
  let summary = "Rotates the first 2 * half dims of every head; dim j pairs with j + half (half-split convention)";
  let arguments = (ins F32Activation:$x, F32Activation:$table, I64Attr:$head_dim);
  let results = (outs F32Activation:$result);
  let assemblyFormat = "$x `,` $table attr-dict `:` functional-type(operands, $result)";
  let hasVerifier = 1;
}

def Llm_KvCacheOp : Llm_Op<"kv_cache"> {
  let summary = "The KV cache of a layer as the step finds it";
  let arguments = (ins I64Attr:$layer, I64Attr:$window, I64Attr:$kv_heads, I64Attr:$head_dim, TypeAttr:$element);
  let results = (outs Llm_KvCacheType:$result);
  let assemblyFormat = "attr-dict";
  let hasVerifier = 1;
}

def Llm_KvWriteOp : Llm_Op<"kv_write"> {
  let summary = "Writes the step's keys and values into the paged cache";
  let arguments = (ins F32Activation:$k, F32Activation:$v, Llm_KvCacheType:$cache);
  let results = (outs Llm_KvCacheType:$result);
  let assemblyFormat = "$k `,` $v `into` $cache attr-dict `:` type($k) `,` type($v)";
  let hasVerifier = 1;
}

def Llm_RopeKvWriteOp : Llm_Op<"rope_kv_write", [AttrSizedOperandSegments]> {
  let summary = "Per-head norm of q and k (where given), RoPE on both, and the cache write, in one launch";
  let arguments = (ins F32Activation:$q, F32Activation:$k, F32Activation:$v, F32Activation:$table, Optional<Vector>:$q_norm,
                       Optional<Vector>:$k_norm, Llm_KvCacheType:$cache, I64Attr:$head_dim, F64Attr:$eps);
  let results = (outs F32Activation:$q_out, Llm_KvCacheType:$cache_out);
  let assemblyFormat = [{
    $q `,` $k `,` $v `table` $table (`norms` $q_norm^ `,` $k_norm `:` type($q_norm) `,` type($k_norm))? `into` $cache attr-dict
    `:` type($q) `,` type($k) `,` type($v) `,` type($table) `->` type($q_out)
  }];
  let hasVerifier = 1;
}

def Llm_AttentionOp : Llm_Op<"attention"> {
  let summary = "Causal grouped-query attention of the step's queries over the paged cache";
  let description = [{
    A query with KV index i sees entries max(0, i - window + 1) .. i of its sequence (window 0: all of them). Query head h reads KV head
    h / (heads / kv_heads).
  }];
  let arguments = (ins F32Activation:$q, Llm_KvCacheType:$cache, I64Attr:$heads, I64Attr:$kv_heads, I64Attr:$head_dim, I64Attr:$window,
                       F64Attr:$scale, TypeAttr:$kv_element);
  let results = (outs Activation:$result);
  let assemblyFormat = "$q `,` $cache attr-dict `:` functional-type($q, $result)";
  let hasVerifier = 1;
}

def Llm_SampleOp : Llm_Op<"sample"> {
  let summary = "One id per logit row, by the row's sampling parameters";
  let arguments = (ins F32Activation:$logits);
  let results = (outs IntVector:$result);
  let assemblyFormat = "$logits attr-dict `:` functional-type(operands, $result)";
}

#endif
