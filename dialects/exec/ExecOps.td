#ifndef LLMC_DIALECTS_EXEC_OPS
#define LLMC_DIALECTS_EXEC_OPS

include "dialects/exec/ExecDialect.td"
include "dialects/llm/LlmDialect.td"
include "mlir/IR/BuiltinAttributes.td"
include "mlir/IR/OpAsmInterface.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/IR/RegionKindInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

class Exec_Op<string mnemonic, list<Trait> traits = []> : Op<Exec_Dialect, mnemonic, traits>;

// Pointers print under the name of what they point to: %counts, %hidden, %kv3.
def NamedPointer : DeclareOpInterfaceMethods<OpAsmOpInterface, ["getAsmResultNames"]>;

def Exec_KernelOp : Exec_Op<"kernel", [Symbol]> {
  let summary = "A kernel instance: a body template with its arguments";
  let description = [{
    `weight`, `operand`, `kv` and `head_dim` are what the template was instantiated for, where it depends on them.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, StrAttr:$family, StrAttr:$variant, StrAttr:$file, StrAttr:$instance, I64Attr:$threads,
                       I64Attr:$shared_bytes, OptionalAttr<TypeAttr>:$weight, OptionalAttr<TypeAttr>:$operand, OptionalAttr<TypeAttr>:$kv,
                       OptionalAttr<I64Attr>:$head_dim);
  let assemblyFormat = "$sym_name $instance `from` $file attr-dict";
}

def Exec_WeightOp : Exec_Op<"weight", [Symbol]> {
  let summary = "A weight buffer [rows, cols] and the checkpoint ranges that fill it";
  let description = [{
    `layout` is "rows" (row-major, filled by copies alone) or the name of the init kernel's layout ("interleaved16": x86, rows padded to 16
    and interleaved), or "row_scale": float32 [rows], computed by `init_kernel` from the weight `source`; or it is filled by launches of the
    program @init: "quantized" (codes, scales and zeros, see docs/quantization.md) or "order" (i32: columns sorted by their group).
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, TypedArrayAttrBase<AnyAttrOf<[Llm_PartAttr, Llm_QuantizedPartAttr]>, "parts">:$parts, I64Attr:$rows, I64Attr:$cols,
                       TypeAttr:$element, StrAttr:$layout, I64Attr:$bytes, OptionalAttr<FlatSymbolRefAttr>:$init_kernel,
                       OptionalAttr<FlatSymbolRefAttr>:$source);
  let assemblyFormat = "$sym_name $parts `:` $rows `x` $cols `x` $element attr-dict";
  let hasVerifier = 1;
}

def Exec_ConstantOp : Exec_Op<"constant", [Symbol]> {
  let summary = "A small table computed at compile time";
  let arguments = (ins SymbolNameAttr:$sym_name, DenseF32ArrayAttr:$values);
  let assemblyFormat = "$sym_name attr-dict";
}

def Exec_ProgramOp : Exec_Op<"program", [Symbol, SingleBlock, NoTerminator, NoRegionArguments]> {
  let summary = "The launches of one bucket: at most `tokens` tokens of `seqs` sequences with `logits` logit rows";
  let description = [{
    `kind` is "forward" (ends at the logits), "sample", or "init": launches that run one after the other when the plan is loaded, fill weights from tensors
    of the checkpoint, and know no bucket. `arena_bytes` is set by plan-memory. `persistent` names a kernel that can run all launches of a forward
    program, one after the other, by itself.
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, StrAttr:$kind, I64Attr:$tokens, I64Attr:$seqs, I64Attr:$logits,
                       OptionalAttr<I64Attr>:$arena_bytes, OptionalAttr<FlatSymbolRefAttr>:$persistent);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $sym_name $kind `tokens` $tokens `seqs` $seqs `logits` $logits (`arena` $arena_bytes^)? attr-dict-with-keyword $body
  }];
  let hasVerifier = 1;
  let hasRegionVerifier = 1;
  let extraClassDeclaration = [{
    mlir::Block& block() { return getBody().front(); }
  }];
}

def Exec_BufferOp : Exec_Op<"buffer", [NamedPointer]> {
  let summary = "An activation buffer; plan-memory gives it an offset in the arena";
  let arguments = (ins I64Attr:$bytes, StrAttr:$name, OptionalAttr<I64Attr>:$offset);
  let results = (outs Exec_PtrType:$result);
  let assemblyFormat = "$name $bytes (`at` $offset^)? attr-dict";
  let hasVerifier = 1;
}

def Exec_SourceOp : Exec_Op<"source", [Pure, NamedPointer]> {
  let summary = "The address of a tensor of the checkpoint, whole, while the program @init runs";
  let arguments = (ins StrAttr:$key);
  let results = (outs Exec_PtrType:$result);
  let assemblyFormat = "$key attr-dict";
}

def Exec_WeightPtrOp : Exec_Op<"weight_ptr", [Pure, NamedPointer]> {
  let summary = "The address of a weight buffer";
  let arguments = (ins FlatSymbolRefAttr:$weight);
  let results = (outs Exec_PtrType:$result);
  let assemblyFormat = "$weight attr-dict";
}

def Exec_ConstantPtrOp : Exec_Op<"constant_ptr", [Pure, NamedPointer]> {
  let summary = "The address of a constant";
  let arguments = (ins FlatSymbolRefAttr:$constant);
  let results = (outs Exec_PtrType:$result);
  let assemblyFormat = "$constant attr-dict";
}

def Exec_IoOp : Exec_Op<"io", [Pure, NamedPointer]> {
  let summary = "The address of a field of the io set that the step runs on";
  let arguments = (ins StrAttr:$field);
  let results = (outs Exec_PtrType:$result);
  let assemblyFormat = "$field attr-dict";
}

def Exec_StateOp : Exec_Op<"state", [Pure, NamedPointer]> {
  let summary = "The address of a buffer that outlives the step: prev, block_table, penalty_counts, logits, hidden, ring, gemm_workspace, arrivals";
  let arguments = (ins StrAttr:$name);
  let results = (outs Exec_PtrType:$result);
  let assemblyFormat = "$name attr-dict";
}

def Exec_KvBaseOp : Exec_Op<"kv_base", [Pure, NamedPointer]> {
  let summary = "The address of a layer's first KV block";
  let arguments = (ins I64Attr:$layer);
  let results = (outs Exec_PtrType:$result);
  let assemblyFormat = "$layer attr-dict";
}

def Exec_LaunchOpInterface : OpInterface<"LaunchOpInterface"> {
  let cppNamespace = "::llmc::exec";
  let description = [{
    What exec.launch and exec.gemm share: pointers with their accesses, predecessors, origin and costs. Scheduling, memory planning and
    verification know launches by this interface.
  }];
  let methods = [
    InterfaceMethod<"", "mlir::Operation::operand_range", "getPointers">,
    InterfaceMethod<"", "mlir::ArrayAttr", "getSlots">,
    InterfaceMethod<"", "llvm::ArrayRef<int8_t>", "getAccess">,
    InterfaceMethod<"", "llvm::StringRef", "getOp">,
    InterfaceMethod<"", "llvm::StringRef", "getLayer">,
    InterfaceMethod<"", "llvm::ArrayRef<double>", "getBytes">,
    InterfaceMethod<"", "llvm::ArrayRef<double>", "getFlops">,
    InterfaceMethod<"", "std::optional<llvm::ArrayRef<int64_t>>", "getAfter">,
    InterfaceMethod<"", "void", "setAfterAttr", (ins "mlir::DenseI64ArrayAttr":$after)>,
    InterfaceMethod<"", "std::optional<llvm::StringRef>", "getRunnerUp">,
  ];
}

// The arguments behind LaunchOpInterface, other than the pointers.
defvar Exec_launchArguments = (ins ArrayAttr:$slots, DenseI8ArrayAttr:$access, StrAttr:$op, StrAttr:$layer, DenseF64ArrayAttr:$bytes,
                               DenseF64ArrayAttr:$flops, OptionalAttr<DenseI64ArrayAttr>:$after, OptionalAttr<StrAttr>:$runner_up);

def Exec_LaunchOp : Exec_Op<"launch", [Exec_LaunchOpInterface]> {
  let summary = "One kernel launch";
  let description = [{
    The list in parentheses fills the argument block slot by slot: a pointer, with what the kernel does to it and an offset in bytes; the
    address of a tensor map of what the kernel reads at a pointer (`map %x : bf16 [4096, 64] strides [8192] box [64, 128] swizzle 128`); an
    integer or a float, which is itself; or `null`. `after` lists the launches (by position in the program) that must have
    finished. `bytes` and `flops` are linear functions of the true counts: coefficients of (1, tokens, sequences, logit rows,
    KV): KV counts cache entries of the step's sequences for bytes, pairs of a query and an entry for operations.
    ```mlir
    exec.launch @add_tile grid [1, 16, 1] (read %counts, read %x, read %y + 512, write %sum, 0, 192, 192, 1024) after [3, 4]
        {op = "add", layer = "layers.0.residual", bytes = ..., flops = ...}
    ```
    In the attributes, slots `#exec.ptr<i>` and `#exec.tensor_map<i ...>` name pointer operand i, and `access` holds 1 (read), 2 (write) or 3 (both) per pointer.
    With `blocks_per_sm` the grid's first extent is bounded by that many blocks for each SM of the device, filled in at load. `programmatic`: the
    launch may start before its only predecessor has ended, and waits for it by itself (programmatic dependent launch).
  }];
  let arguments = !con((ins FlatSymbolRefAttr:$kernel, Variadic<Exec_PtrType>:$pointers, DenseI64ArrayAttr:$grid), Exec_launchArguments,
                       (ins OptionalAttr<I64Attr>:$blocks_per_sm, UnitAttr:$programmatic));
  let assemblyFormat = [{
    $kernel `grid` $grid custom<Arguments>($pointers, $slots, $access) (`after` $after^)? attr-dict
  }];
  let hasVerifier = 1;
}

def Exec_GemmOp : Exec_Op<"gemm", [Exec_LaunchOpInterface]> {
  let summary = "A matrix product by the vendor's library";
  let description = [{
    out[rows, cols] = x[rows, k] . w[cols, k]^T with sums and `out` in float32; x and w are of type `element`, everything is contiguous. The
    pointers are x, w, out and the library's workspace, which its calls share: they run one after the other. `rows` is the bucket's: rows
    beyond the true count are computed from whatever stands there, into rows that nobody reads.
    ```mlir
    exec.gemm f16 rows 512 cols 4096 k 1024 (read %x, read %w, write %out, read_write %gemm_workspace) after [3]
        {op = "linear", layer = "layers.0.o_proj", bytes = ..., flops = ...}
    ```
  }];
  let arguments = !con((ins Variadic<Exec_PtrType>:$pointers, TypeAttr:$element, I64Attr:$rows, I64Attr:$cols, I64Attr:$k),
                       Exec_launchArguments);
  let assemblyFormat = [{
    $element `rows` $rows `cols` $cols `k` $k custom<Arguments>($pointers, $slots, $access) (`after` $after^)? attr-dict
  }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    // Bytes of x, w and out; of the workspace only that there is one.
    int64_t extent(size_t pointer);
  }];
}

#endif
