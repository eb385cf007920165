// The launch dialect: kernels, weights, and programs of launches over planned buffers. No model knowledge.
#ifndef LLMC_DIALECTS_EXEC_DIALECT
#define LLMC_DIALECTS_EXEC_DIALECT

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/OpBase.td"

def Exec_Dialect : Dialect {
  let name = "exec";
  let summary = "Kernel launches on planned buffers";
  let description = [{
    A module of one target holds kernels (`exec.kernel`), weights with their recipes (`exec.weight`), constants, and one `exec.program` per
    bucket and kind. In a program every pointer is a value; a launch fills its kernel's argument block (kernels_templates/abi.h) slot by
    slot from pointers and scalars. Order is the order of the operations until `schedule` writes the predecessors of each launch; from
    then on these are the order.
  }];
  let cppNamespace = "::llmc::exec";
  let useDefaultTypePrinterParser = 1;
  let useDefaultAttributePrinterParser = 1;
}

def Exec_PtrType : TypeDef<Exec_Dialect, "Ptr"> {
  let mnemonic = "ptr";
  let summary = "A device address that is known when the plan is loaded";
}

def Exec_SlotAttr : AttrDef<Exec_Dialect, "Slot"> {
  let mnemonic = "ptr";
  let summary = "An argument slot filled with pointer operand `operand` plus `offset` bytes";
  let parameters = (ins "int64_t":$operand, DefaultValuedParameter<"int64_t", "0">:$offset);
  let assemblyFormat = "`<` $operand (`+` $offset^)? `>`";
}

def Exec_TensorMapAttr : AttrDef<Exec_Dialect, "TensorMap"> {
  let mnemonic = "tensor_map";
  let summary = "An argument slot filled with the address of a tensor map (cuTensorMapEncodeTiled) of memory at a pointer operand";
  let description = [{
    The array of `element` begins at pointer operand `operand` plus `offset` bytes. `dims` (elements), `strides` (bytes, of dimensions 1, 2, ...) and `box`
    (elements copied at once) go from the innermost dimension outwards. `swizzle`: bytes of the pattern in shared memory, 0 for none. The
    map itself is encoded and copied to the device when the plan is loaded.
  }];
  let parameters = (ins "int64_t":$operand, "int64_t":$offset, "mlir::Type":$element, ArrayRefParameter<"int64_t">:$dims,
                        ArrayRefParameter<"int64_t">:$strides, ArrayRefParameter<"int64_t">:$box, "int64_t":$swizzle);
  let assemblyFormat = [{
    `<` $operand `+` $offset `,` $element `,` `[` $dims `]` `,` `[` $strides `]` `,` `[` $box `]` `,` $swizzle `>`
  }];
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    // Bytes from the first element to the end of the last.
    int64_t extent() const;
  }];
}

#endif
