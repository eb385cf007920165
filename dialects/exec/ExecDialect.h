// C++ declarations of the `exec` dialect (generated from ExecDialect.td and ExecOps.td).
#pragma once

#include "dialects/llm/LlmDialect.h"
#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/RegionKindInterface.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "dialects/exec/ExecDialect.h.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/exec/ExecTypes.h.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/exec/ExecAttrs.h.inc"
#include "dialects/exec/ExecInterfaces.h.inc"
#define GET_OP_CLASSES
#include "dialects/exec/ExecOps.h.inc"

namespace llmc::exec {

enum Access : int8_t { kRead = 1, kWrite = 2, kReadWrite = 3 };

// The pointer operand that a slot names, and the bytes from it on; nothing for scalars.
struct SlotPointer {
  int64_t operand, offset;
};
std::optional<SlotPointer> pointer_of(mlir::Attribute slot);

}  // namespace llmc::exec
