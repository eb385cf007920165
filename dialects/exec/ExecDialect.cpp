// The `exec` dialect: registration and verifiers.
#include "dialects/exec/ExecDialect.h"

#include <limits>

#include "llvm/ADT/TypeSwitch.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"

#include "dialects/exec/ExecDialect.cpp.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/exec/ExecTypes.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/exec/ExecAttrs.cpp.inc"

namespace llmc::exec {

using mlir::failure;
using mlir::LogicalResult;
using mlir::success;

namespace {

using Operands = llvm::SmallVectorImpl<mlir::OpAsmParser::UnresolvedOperand>;

constexpr std::pair<llvm::StringLiteral, Access> kAccessWords[] = {{"read", kRead}, {"write", kWrite}, {"read_write", kReadWrite}};

// `map %x + 512 : bf16 [4096, 64] strides [8192] box [64, 128] swizzle 128`, behind the word `map`.
mlir::ParseResult parse_map(mlir::OpAsmParser& parser, Operands& pointers, llvm::SmallVectorImpl<mlir::Attribute>& slots) {
  int64_t offset = 0, swizzle = 0;
  mlir::Type element;
  llvm::SmallVector<int64_t> dims, strides, box;
  const auto list = [&](llvm::SmallVectorImpl<int64_t>& values) {
    return parser.parseCommaSeparatedList(mlir::AsmParser::Delimiter::Square, [&] { return parser.parseInteger(values.emplace_back()); });
  };
  const int64_t operand = static_cast<int64_t>(pointers.size());
  const llvm::SMLoc where = parser.getCurrentLocation();
  if (parser.parseOperand(pointers.emplace_back()) || (mlir::succeeded(parser.parseOptionalPlus()) && parser.parseInteger(offset)) ||
      parser.parseColonType(element) || list(dims) || parser.parseKeyword("strides") || list(strides) || parser.parseKeyword("box") || list(box) ||
      parser.parseKeyword("swizzle") || parser.parseInteger(swizzle))
    return failure();
  const auto map = TensorMapAttr::getChecked([&] { return parser.emitError(where); }, parser.getContext(), operand, offset, element, dims, strides,
                                             box, swizzle);
  if (!map) return failure();
  slots.push_back(map);
  return success();
}

void print_map(mlir::OpAsmPrinter& printer, TensorMapAttr map, mlir::Value pointer) {
  printer << "map " << pointer;
  if (map.getOffset() != 0) printer << " + " << map.getOffset();
  printer << " : " << map.getElement() << " [" << map.getDims() << "] strides [" << map.getStrides() << "] box [" << map.getBox() << "] swizzle "
          << map.getSwizzle();
}

// One argument of a launch: `read %x`, `write %y + 512`, `map %x ...`, `192`, `1.0E-6` or `null`.
mlir::ParseResult parse_argument(mlir::OpAsmParser& parser, Operands& pointers, llvm::SmallVectorImpl<mlir::Attribute>& slots,
                                 llvm::SmallVectorImpl<int8_t>& accesses) {
  if (mlir::succeeded(parser.parseOptionalKeyword("null"))) {
    slots.push_back(parser.getBuilder().getUnitAttr());
    return success();
  }
  if (mlir::succeeded(parser.parseOptionalKeyword("map"))) {
    accesses.push_back(kRead);
    return parse_map(parser, pointers, slots);
  }
  for (const auto& [word, access] : kAccessWords) {
    if (mlir::failed(parser.parseOptionalKeyword(word))) continue;
    int64_t offset = 0;
    const int64_t operand = static_cast<int64_t>(pointers.size());
    if (parser.parseOperand(pointers.emplace_back())) return failure();
    if (mlir::succeeded(parser.parseOptionalPlus()) && parser.parseInteger(offset)) return failure();
    slots.push_back(SlotAttr::get(parser.getContext(), operand, offset));
    accesses.push_back(access);
    return success();
  }
  return parser.parseAttribute(slots.emplace_back());
}

mlir::ParseResult parseArguments(mlir::OpAsmParser& parser, Operands& pointers, mlir::ArrayAttr& slots, mlir::DenseI8ArrayAttr& access) {
  llvm::SmallVector<mlir::Attribute> slot_list;
  llvm::SmallVector<int8_t> access_list;
  if (parser.parseCommaSeparatedList(mlir::AsmParser::Delimiter::Paren,
                                     [&] { return parse_argument(parser, pointers, slot_list, access_list); }))
    return failure();
  slots = parser.getBuilder().getArrayAttr(slot_list);
  access = parser.getBuilder().getDenseI8ArrayAttr(access_list);
  return success();
}

void printArguments(mlir::OpAsmPrinter& printer, mlir::Operation*, mlir::OperandRange pointers, mlir::ArrayAttr slots,
                    mlir::DenseI8ArrayAttr access) {
  printer << "(";
  llvm::interleaveComma(slots, printer, [&](mlir::Attribute slot) {
    auto pointer = mlir::dyn_cast<SlotAttr>(slot);
    if (mlir::isa<mlir::UnitAttr>(slot)) {
      printer << "null";
    } else if (auto map = mlir::dyn_cast<TensorMapAttr>(slot)) {
      print_map(printer, map, pointers[static_cast<size_t>(map.getOperand())]);
    } else if (!pointer) {
      printer.printAttributeWithoutType(slot);
    } else {
      const auto index = static_cast<size_t>(pointer.getOperand());
      for (const auto& [word, value] : kAccessWords)
        if (value == access[index]) printer << word << " ";
      printer << pointers[index];
      if (pointer.getOffset() != 0) printer << " + " << pointer.getOffset();
    }
  });
  printer << ")";
}

}  // namespace
}  // namespace llmc::exec

#include "dialects/exec/ExecInterfaces.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/exec/ExecOps.cpp.inc"

namespace llmc::exec {

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

std::optional<SlotPointer> pointer_of(mlir::Attribute slot) {
  if (auto pointer = mlir::dyn_cast<SlotAttr>(slot)) return SlotPointer{pointer.getOperand(), pointer.getOffset()};
  if (auto map = mlir::dyn_cast<TensorMapAttr>(slot)) return SlotPointer{map.getOperand(), map.getOffset()};
  return std::nullopt;
}

// What cuTensorMapEncodeTiled demands.
LogicalResult TensorMapAttr::verify(llvm::function_ref<mlir::InFlightDiagnostic()> error, int64_t, int64_t offset, mlir::Type element,
                                    llvm::ArrayRef<int64_t> dims, llvm::ArrayRef<int64_t> strides, llvm::ArrayRef<int64_t> box, int64_t swizzle) {
  constexpr int64_t kAlignment = 16, kMaxBox = 256, kMaxDim = int64_t{1} << 32, kMaxStride = int64_t{1} << 40;
  if (!element.isF16() && !element.isBF16() && !element.isF32()) return error() << "a tensor map's element is f16, bf16 or f32, found " << element;
  if (dims.size() < 2 || dims.size() > 5 || strides.size() + 1 != dims.size() || box.size() != dims.size())
    return error() << "a tensor map has 2 to 5 dims, one stride fewer and as many box extents, found " << dims.size() << ", " << strides.size()
                   << " and " << box.size();
  if (offset % kAlignment != 0) return error() << "a tensor map's offset is a multiple of " << kAlignment << " bytes, found " << offset;
  for (int64_t d : dims)
    if (d < 1 || d > kMaxDim) return error() << "a tensor map's dims are 1 to 2^32, found " << d;
  for (int64_t s : strides)
    if (s < 1 || s >= kMaxStride || s % kAlignment != 0)
      return error() << "a tensor map's strides are multiples of " << kAlignment << " bytes below 2^40, found " << s;
  for (int64_t b : box)
    if (b < 1 || b > kMaxBox) return error() << "a tensor map's box extents are 1 to " << kMaxBox << ", found " << b;
  if (swizzle != 0 && swizzle != 32 && swizzle != 64 && swizzle != 128) return error() << "a tensor map's swizzle is 0, 32, 64 or 128, found " << swizzle;
  const int64_t inner = box[0] * element.getIntOrFloatBitWidth() / 8;
  if (inner % kAlignment != 0 || (swizzle != 0 && inner > swizzle))
    return error() << "a tensor map's box has rows of " << inner << " bytes: a multiple of " << kAlignment << ", at most the swizzle's span";
  return success();
}

int64_t TensorMapAttr::extent() const {
  int64_t bytes = getDims()[0] * getElement().getIntOrFloatBitWidth() / 8;
  for (size_t i = 0; i < getStrides().size(); ++i) bytes += (getDims()[i + 1] - 1) * getStrides()[i];
  return bytes;
}

LogicalResult WeightOp::verify() {
  const llvm::StringRef layouts[] = {"rows", "interleaved16", "row_scale", "quantized", "order"};
  if (!llvm::is_contained(layouts, getLayout()))
    return emitOpError("layout is 'rows', 'interleaved16', 'row_scale', 'quantized' or 'order', found '") << getLayout() << "'";
  if ((getLayout() == "row_scale") != bool(getSource())) return emitOpError("needs a source exactly if its layout is 'row_scale'");
  if ((getLayout() == "quantized") != mlir::isa<ops::QuantizedType>(getElement()))
    return emitOpError("has the layout 'quantized' exactly if its element is");
  int64_t rows = 0;
  for (mlir::Attribute attr : getParts()) {
    if (auto part = mlir::dyn_cast<ops::QuantizedPartAttr>(attr)) {
      if (getLayout() != "quantized") return emitOpError("needs the layout 'quantized' for quantized parts");
      rows += part.getRows();
      continue;
    }
    auto part = mlir::cast<ops::PartAttr>(attr);
    if (part.getColEnd() - part.getColBegin() != static_cast<int64_t>(getCols()))
      return emitOpError("needs parts of ") << getCols() << " columns, found " << part;
    rows += part.getRowEnd() - part.getRowBegin();
  }
  if (rows != static_cast<int64_t>(getRows())) return emitOpError("needs parts of ") << getRows() << " rows in all, found " << rows;
  return success();
}

LogicalResult ProgramOp::verify() {
  if (getKind() != "forward" && getKind() != "sample" && getKind() != "init")
    return emitOpError("kind is 'forward', 'sample' or 'init', found '") << getKind() << "'";
  if (static_cast<int64_t>(getTokens()) <= 0 || static_cast<int64_t>(getSeqs()) <= 0 || static_cast<int64_t>(getLogits()) <= 0)
    return emitOpError("needs tokens, seqs and logits > 0");
  return success();
}

LogicalResult ProgramOp::verifyRegions() {
  int64_t position = 0;
  for (auto launch : block().getOps<LaunchOpInterface>()) {
    for (int64_t p : launch.getAfter().value_or(llvm::ArrayRef<int64_t>()))
      if (p < 0 || p >= position)
        return launch->emitOpError("number ") << position << " waits for launch " << p << ", which does not come before it";
    ++position;
  }
  return success();
}

LogicalResult BufferOp::verify() {
  if (static_cast<int64_t>(getBytes()) <= 0) return emitOpError("needs a positive size, found ") << static_cast<int64_t>(getBytes());
  if (static_cast<int64_t>(getOffset().value_or(0)) < 0) return emitOpError("has a negative offset");
  return success();
}

void BufferOp::getAsmResultNames(mlir::OpAsmSetValueNameFn name) { name(getResult(), getName()); }
void SourceOp::getAsmResultNames(mlir::OpAsmSetValueNameFn name) { name(getResult(), getKey()); }
void WeightPtrOp::getAsmResultNames(mlir::OpAsmSetValueNameFn name) { name(getResult(), getWeight()); }
void ConstantPtrOp::getAsmResultNames(mlir::OpAsmSetValueNameFn name) { name(getResult(), getConstant()); }
void IoOp::getAsmResultNames(mlir::OpAsmSetValueNameFn name) { name(getResult(), getField()); }
void StateOp::getAsmResultNames(mlir::OpAsmSetValueNameFn name) { name(getResult(), getName()); }
void KvBaseOp::getAsmResultNames(mlir::OpAsmSetValueNameFn name) { name(getResult(), "kv" + std::to_string(getLayer())); }

// What the printed form and the plan rely on, of any launch.
static LogicalResult verify_launch(LaunchOpInterface launch) {
  const size_t count = launch.getPointers().size();
  if (launch.getAccess().size() != count)
    return launch->emitOpError("needs one access mode per pointer: ") << count << " pointers, " << launch.getAccess().size() << " modes";
  for (int8_t access : launch.getAccess())
    if (access < kRead || access > kReadWrite) return launch->emitOpError("unknown access mode ") << static_cast<int>(access);
  int64_t pointers = 0;  // every pointer fills one slot, in order: the printed form relies on it
  for (mlir::Attribute slot : launch.getSlots()) {
    if (const std::optional<SlotPointer> pointer = pointer_of(slot)) {
      if (pointer->operand != pointers++ || pointers > static_cast<int64_t>(count))
        return launch->emitOpError("slot names pointer ") << pointer->operand << " of " << count << ", expected " << pointers - 1;
      if (mlir::isa<TensorMapAttr>(slot) && launch.getAccess()[static_cast<size_t>(pointer->operand)] != kRead)
        return launch->emitOpError("writes through the tensor map of pointer ") << pointer->operand;
      if (pointer->offset < 0) return launch->emitOpError("has a negative offset in slot ") << slot;
    } else if (!mlir::isa<mlir::IntegerAttr, mlir::FloatAttr, mlir::UnitAttr>(slot)) {
      return launch->emitOpError("unknown slot ") << slot;
    }
  }
  if (pointers != static_cast<int64_t>(count)) return launch->emitOpError("has ") << count << " pointers, but its slots name " << pointers;
  if (launch.getBytes().size() != 5 || launch.getFlops().size() != 5) return launch->emitOpError("needs five cost coefficients");
  return success();
}

LogicalResult LaunchOp::verify() {
  if (getGrid().size() != 3) return emitOpError("needs a grid of three dimensions, found ") << getGrid().size();
  for (int64_t extent : getGrid())
    if (extent <= 0) return emitOpError("needs positive grid extents, found ") << extent;
  if (getProgrammatic() && getAfter().value_or(llvm::ArrayRef<int64_t>()).size() != 1)
    return emitOpError("a programmatic launch has exactly one predecessor");
  return verify_launch(*this);
}

LogicalResult GemmOp::verify() {
  if (!getElement().isF16() && !getElement().isBF16() && !getElement().isF32())
    return emitOpError("element is f16, bf16 or f32, found ") << getElement();
  for (auto extent : {getRows(), getCols(), getK()})
    if (extent < 1 || extent > std::numeric_limits<int32_t>::max())
      return emitOpError("needs rows, cols and k from 1 to 2^31 - 1, found ") << static_cast<int64_t>(extent);
  const int8_t expected[] = {kRead, kRead, kWrite, kReadWrite};
  if (getSlots().size() != 4 || getAccess() != llvm::ArrayRef<int8_t>(expected))
    return emitOpError("takes (read x, read w, write out, read_write workspace)");
  return verify_launch(*this);
}

int64_t GemmOp::extent(size_t pointer) {
  const auto rows = static_cast<int64_t>(getRows()), cols = static_cast<int64_t>(getCols()), k = static_cast<int64_t>(getK());
  const int64_t element = getElement().isF32() ? 4 : 2;
  const int64_t extents[] = {rows * k * element, cols * k * element, rows * cols * 4, 1};
  return extents[pointer];
}

}  // namespace llmc::exec
