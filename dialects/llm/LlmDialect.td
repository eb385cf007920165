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

def Llm_PartAttr : AttrDef<Llm_Dialect, "Part"> {
  let mnemonic = "part";
  let summary = "Rows [row_begin, row_end) and columns [col_begin, col_end) of a checkpoint tensor";
  let parameters = (ins StringRefParameter<"tensor name in the checkpoint">:$key, "int64_t":$rowBegin, "int64_t":$rowEnd,
                        "int64_t":$colBegin, "int64_t":$colEnd);
  let assemblyFormat = "`<` $key `rows` $rowBegin `to` $rowEnd `cols` $colBegin `to` $colEnd `>`";
}

#endif
