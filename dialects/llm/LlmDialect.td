// The model dialect: operations on tensors, as a reader of a paper would name them. Nothing about a target.
#ifndef LLMC_DIALECTS_LLM_DIALECT
#define LLMC_DIALECTS_LLM_DIALECT

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/OpBase.td"

def Llm_Dialect : Dialect {
  let name = "llm";
  let summary = "Model operations on tensors, one step of a ragged batch";
  let description = [{
    A module holds one function `@forward`, from the step's token ids and positions to logits and hidden states, and one
    function `@sample`. The first dimension of an activation is dynamic: the tokens of the step (T), or its logit rows (L) behind
    `llm.gather_rows`. Linear weights are `[out, in]`, as in a Hugging Face checkpoint.

    Activations are float32 until the pass `narrow-operands` gives the operands of linear layers the type that the target's matrix units
    take; the residual stream and everything that is accumulated stay float32.
  }];
  let cppNamespace = "::llmc::ops";
  let useDefaultTypePrinterParser = 1;
  let useDefaultAttributePrinterParser = 1;
}

def Llm_KvCacheType : TypeDef<Llm_Dialect, "KvCache"> {
  let mnemonic = "kv_cache";
  let summary = "The state of one layer's KV cache";
  let description = [{
    Writing returns the new state and attention takes it, so the order of write and read is a data dependency.
  }];
}

def Llm_QuantizedType : TypeDef<Llm_Dialect, "Quantized"> {
  let mnemonic = "quantized";
  let summary = "The element of a quantized weight [N, K]";
  let description = [{
    Weight (n, k) is (code - zero) * scale for the unsigned integer codes u2, u3, u4 and u8, and value(code) * scale for the codes e4m3
    (float8_e4m3fn), nf4 and fp4 (tables of 16 values). Scale and zero are those of row n and of group k / `group`: a scale per row has
    the group K; coarser ones (per tensor, per block of rows) are repeated for each row when the weight is loaded. Without `zeros` the zero of a
    code of b bits is 2^(b-1). With `ordered` the columns of the weight are not those of the checkpoint, but these sorted by their group, and its
    input comes from `llm.gather_columns` (GPTQ's desc_act).
    ```mlir
    tensor<4096x4096x!llm.quantized<u4, group 128, scale f16, zeros, ordered>>
    ```
  }];
  let parameters = (ins StringRefParameter<"code">:$code, "int64_t":$group, "mlir::Type":$scale, "bool":$zeros, "bool":$ordered);
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    bool isInteger() const { return getCode().starts_with("u"); }
    // Bits of a code, in the checkpoint and as stored: codes of 3 bits are stored in 4.
    int64_t bits() const;
    llm::CodeType storage() const;
    int64_t storedBits() const;
    // Without `zeros`.
    int64_t zero() const { return int64_t{1} << (bits() - 1); }
  }];
}

def Llm_Int8RowsType : TypeDef<Llm_Dialect, "Int8Rows"> {
  let mnemonic = "int8_rows";
  let summary = "The element of an activation [rows, K] whose rows are quantized to int8";
  let description = [{
    x[r, k] is about code * scale, with codes from -127 to 127 and a scale for each row and each `group` columns. Beside codes and scales stand
    sums of the codes, which the zero points of weights need. Codes do not stand in the order of the columns, but as weights of `bits` bits unpack; with
    `panels` 32 rows stand together, for kernels of many rows: docs/quantization.md has the layouts.
    ```mlir
    tensor<?x4096x!llm.int8_rows<group 128, bits 4, panels>>
    ```
  }];
  let parameters = (ins "int64_t":$group, "int64_t":$bits, "bool":$panels);
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
}

def Llm_Bf16PanelsType : TypeDef<Llm_Dialect, "Bf16Panels"> {
  let mnemonic = "bf16_panels";
  let summary = "The element of an activation [rows, K] in bf16 that lies in memory as AMX reads it";
  let description = [{
    Panels of 32 rows x 32 columns, those of the same rows behind each other: kernels_templates/x86/operand.h. K is a multiple of 32; there is room for
    whole panels of rows.
    ```mlir
    tensor<?x4096x!llm.bf16_panels>
    ```
  }];
}

def Llm_PackedAttr : AttrDef<Llm_Dialect, "Packed"> {
  let mnemonic = "packed";
  let summary = "Integers packed into the words of a checkpoint tensor: PackedView of kernels_templates/abi.h";
  let parameters = (ins StringRefParameter<"tensor name in the checkpoint">:$key, "int64_t":$wordBytes, "int64_t":$bits, "int64_t":$unitValues,
                        "int64_t":$unitWords, "int64_t":$wordStride, "int64_t":$lineStride, DefaultValuedParameter<"int64_t", "0">:$order,
                        DefaultValuedParameter<"int64_t", "0">:$add, DefaultValuedParameter<"bool", "false">:$byColumn);
  let assemblyFormat = "`<` struct(params) `>`";
}

def Llm_ScalesAttr : AttrDef<Llm_Dialect, "Scales"> {
  let mnemonic = "scales";
  let summary = "Scales in a checkpoint tensor: ScaleView of kernels_templates/abi.h";
  let description = [{
    `type` is that of the values, or i8 for bytes that index the 256 floats of tensor `map`; these are then scaled by tensor `mapScales`.
  }];
  let parameters = (ins StringRefParameter<"tensor name in the checkpoint">:$key, "mlir::Type":$type, "int64_t":$rowBlock, "int64_t":$rowStride,
                        "int64_t":$groupStride, DefaultValuedParameter<"int64_t", "1">:$divisor, OptionalParameter<"mlir::StringAttr">:$map,
                        OptionalParameter<"mlir::StringAttr">:$mapScales, DefaultValuedParameter<"int64_t", "1">:$mapBlock,
                        OptionalParameter<"mlir::FloatAttr">:$mapOffset);
  let assemblyFormat = "`<` struct(params) `>`";
}

def Llm_QuantizedPartAttr : AttrDef<Llm_Dialect, "QuantizedPart"> {
  let mnemonic = "quantized_part";
  let summary = "The tensors of one quantized module of a checkpoint, and where its codes, zeros and scales lie in them";
  let description = [{
    `groupOf` names the tensor that holds the group of every column (g_idx), for ordered weights. With `rowsBy` the rows of the module are sorted, too:
    by the groups that this tensor gives them, `rowGroup` rows each.
  }];
  let parameters = (ins "int64_t":$rows, "llmc::ops::PackedAttr":$codes, OptionalParameter<"llmc::ops::PackedAttr">:$zeros,
                        "llmc::ops::ScalesAttr":$scales, OptionalParameter<"mlir::StringAttr">:$groupOf,
                        OptionalParameter<"mlir::StringAttr">:$rowsBy, DefaultValuedParameter<"int64_t", "0">:$rowGroup);
  let assemblyFormat = "`<` struct(params) `>`";
}

def Llm_PartAttr : AttrDef<Llm_Dialect, "Part"> {
  let mnemonic = "part";
  let summary = "Rows [row_begin, row_end) and columns [col_begin, col_end) of a checkpoint tensor";
  let parameters = (ins StringRefParameter<"tensor name in the checkpoint">:$key, "int64_t":$rowBegin, "int64_t":$rowEnd,
                        "int64_t":$colBegin, "int64_t":$colEnd);
  let assemblyFormat = "`<` $key `rows` $rowBegin `to` $rowEnd `cols` $colBegin `to` $colEnd `>`";
}

#endif
