// C++ declarations of the `llm` dialect (generated from LlmDialect.td and LlmOps.td).
#pragma once

#include "kernels_templates/variant.h"
#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "dialects/llm/LlmDialect.h.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/llm/LlmTypes.h.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/llm/LlmAttrs.h.inc"
#define GET_OP_CLASSES
#include "dialects/llm/LlmOps.h.inc"

namespace llmc::ops {

// Width (last dimension) and element type of an activation or weight.
inline int64_t width_of(mlir::Value v) { return mlir::cast<mlir::RankedTensorType>(v.getType()).getShape().back(); }
inline mlir::Type element_of(mlir::Value v) { return mlir::cast<mlir::RankedTensorType>(v.getType()).getElementType(); }
// The element type of a quantized weight, or null.
inline QuantizedType quantized_of(mlir::Value v) { return mlir::dyn_cast<QuantizedType>(element_of(v)); }
// The element type of an activation in int8, or null.
inline Int8RowsType int8_rows_of(mlir::Value v) { return mlir::dyn_cast<Int8RowsType>(element_of(v)); }
// Whether a linear layer with such a weight [N, k] can take activations in int8 groups of `group`.
bool takes_int8_rows(QuantizedType weight, int64_t k, int64_t group);

}  // namespace llmc::ops
