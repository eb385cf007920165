// The `exec` dialect: registration and verifiers.
#include "dialects/exec/ExecDialect.h"

#include "llvm/ADT/TypeSwitch.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"

#include "dialects/exec/ExecDialect.cpp.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/exec/ExecTypes.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/exec/ExecAttrs.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/exec/ExecOps.cpp.inc"

namespace llmc::exec {

using mlir::failure;
using mlir::LogicalResult;
using mlir::success;

void ExecDialect::initialize() {
  addTypes<
#define GET_TYPEDEF_LIST
#include "dialects/exec/ExecTypes.cpp.inc"
      >();
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/exec/ExecAttrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/exec/ExecOps.cpp.inc"
      >();
}

LogicalResult WeightOp::verify() {
  int64_t rows = 0;
  for (mlir::Attribute attr : getParts()) {
    auto part = mlir::cast<ops::PartAttr>(attr);
    if (part.getColEnd() - part.getColBegin() != static_cast<int64_t>(getCols()))
      return emitOpError("needs parts of ") << getCols() << " columns, found " << part;
    rows += part.getRowEnd() - part.getRowBegin();
  }
  if (rows != static_cast<int64_t>(getRows())) return emitOpError("needs parts of ") << getRows() << " rows in all, found " << rows;
  return success();
}

LogicalResult LaunchOp::verify() {
  if (getGrid().size() != 3) return emitOpError("needs a grid of three dimensions, found ") << getGrid().size();
  for (int64_t extent : getGrid())
    if (extent <= 0) return emitOpError("needs positive grid extents, found ") << extent;
  if (getAccess().size() != getPointers().size())
    return emitOpError("needs one access mode per pointer: ") << getPointers().size() << " pointers, " << getAccess().size() << " modes";
  for (int8_t access : getAccess())
    if (access < kRead || access > kReadWrite) return emitOpError("unknown access mode ") << static_cast<int>(access);
  for (mlir::Attribute slot : getSlots()) {
    if (auto pointer = mlir::dyn_cast<SlotAttr>(slot)) {
      if (pointer.getOperand() < 0 || pointer.getOperand() >= static_cast<int64_t>(getPointers().size()))
        return emitOpError("slot names pointer ") << pointer.getOperand() << " of " << getPointers().size();
    } else if (!mlir::isa<mlir::IntegerAttr, mlir::FloatAttr, mlir::UnitAttr>(slot)) {
      return emitOpError("unknown slot ") << slot;
    }
  }
  if (getBytes().size() != 5 || getFlops().size() != 5) return emitOpError("needs five cost coefficients");
  return success();
}

}  // namespace llmc::exec
