// Verifiers and folders of the `llm` dialect.
#include "dialects/llm/LlmDialect.h"
#include "mlir/IR/OpImplementation.h"

#define GET_OP_CLASSES
#include "dialects/llm/LlmOps.cpp.inc"

namespace llmc::ops {
namespace {

using mlir::failure;
using mlir::LogicalResult;
using mlir::RankedTensorType;
using mlir::success;

llvm::ArrayRef<int64_t> shape_of(mlir::Value v) { return mlir::cast<RankedTensorType>(v.getType()).getShape(); }

template <typename Op>
LogicalResult verify_unary(Op op) {
  if (width_of(op.getX()) != width_of(op.getResult())) return op.emitOpError("operand and result must be equally wide");
  return success();
}

template <typename Op>
LogicalResult verify_binary(Op op) {
  if (width_of(op.getLhs()) != width_of(op.getRhs()) || width_of(op.getLhs()) != width_of(op.getResult()))
    return op.emitOpError("operands and result must be equally wide");
  return success();
}

template <typename Op>
LogicalResult verify_int8_rows(Op op) {
  const Int8RowsType x = int8_rows_of(op.getX());
  if (!x) return success();
  const QuantizedType w = quantized_of(op.getWeight());
  if (!w || !takes_int8_rows(w, shape_of(op.getWeight())[1], x.getGroup()) || w.storedBits() != x.getBits())
    return op.emitOpError("cannot multiply ") << x << " with a weight of " << element_of(op.getWeight());
  return success();
}

}  // namespace

LogicalResult WeightOp::verify() {
  auto type = mlir::cast<RankedTensorType>(getType());
  if (!type.hasStaticShape()) return emitOpError("needs a static shape, found ") << type;
  const int64_t cols = type.getRank() == 2 ? type.getShape()[1] : 1;
  const auto quantized = mlir::dyn_cast<QuantizedType>(type.getElementType());
  int64_t rows = 0;
  for (mlir::Attribute attr : getParts()) {
    if (auto part = mlir::dyn_cast<QuantizedPartAttr>(attr)) {
      if (!quantized) return emitOpError("is of type ") << type << ", but has a quantized part";
      if (part.getRows() <= 0) return emitOpError("has an empty quantized part");
      if (bool(part.getZeros()) != quantized.getZeros()) return emitOpError("needs zeros in each part exactly if its type has them");
      if (bool(part.getGroupOf()) != quantized.getOrdered()) return emitOpError("needs groupOf in each part exactly if its type is ordered");
      if (bool(part.getRowsBy()) != (part.getRowGroup() > 0)) return emitOpError("needs a rowGroup exactly with rowsBy");
      rows += part.getRows();
      continue;
    }
    auto part = mlir::cast<PartAttr>(attr);
    if (quantized && quantized.getOrdered()) return emitOpError("is ordered, but has the dense part ") << part;
    if (part.getRowBegin() < 0 || part.getRowEnd() <= part.getRowBegin()) return emitOpError("has an empty row range in ") << part;
    if (part.getColBegin() < 0 || part.getColEnd() - part.getColBegin() != cols)
      return emitOpError("needs parts of ") << cols << " columns, found " << part;
    rows += part.getRowEnd() - part.getRowBegin();
  }
  if (quantized && quantized.getGroup() > cols) return emitOpError("has groups of ") << quantized.getGroup() << " columns, more than its " << cols;
  if (rows != type.getShape()[0]) return emitOpError("needs parts of ") << type.getShape()[0] << " rows in all, found " << rows;
  return success();
}

LogicalResult EmbedOp::verify() {
  if (width_of(getResult()) != width_of(getTable()))
    return emitOpError("result width ") << width_of(getResult()) << " differs from the table's " << width_of(getTable());
  return success();
}

LogicalResult GatherColumnsOp::verify() {
  const int64_t width = width_of(getX());
  if (shape_of(getGroupOf())[0] != width) return emitOpError("needs a group for each of ") << width << " columns, found " << shape_of(getGroupOf())[0];
  if (static_cast<int64_t>(getGroup()) <= 0) return emitOpError("needs a positive group");
  if (width_of(getResult()) != width) return emitOpError("operand and result must be equally wide");
  if (element_of(getResult()) != element_of(getX())) return emitOpError("operand and result must have one element type");
  return success();
}

LogicalResult RmsNormOp::verify() {
  const int64_t width = width_of(getX()), group = shape_of(getWeight())[0];
  if (group <= 0 || width % group != 0) return emitOpError("width ") << width << " is not a multiple of the weight's " << group;
  if (width_of(getResult()) != width) return emitOpError("result width differs from the input's");
  return success();
}

LogicalResult AddRmsNormOp::verify() {
  const int64_t width = shape_of(getWeight())[0];
  for (mlir::Value v : {mlir::Value(getResidual()), mlir::Value(getDelta()), mlir::Value(getSum()), mlir::Value(getResult())})
    if (width_of(v) != width) return emitOpError("needs width ") << width << " everywhere, found " << width_of(v);
  return success();
}

LogicalResult QuantizeRowsOp::verify() {
  if (width_of(getX()) % int8_rows_of(getResult()).getGroup() != 0)
    return emitOpError("width ") << width_of(getX()) << " is not a multiple of the group, " << int8_rows_of(getResult()).getGroup();
  return verify_unary(*this);
}

LogicalResult LinearOp::verify() {
  const auto weight = shape_of(getWeight());
  if (mlir::failed(verify_int8_rows(*this))) return failure();
  if (width_of(getX()) != weight[1]) return emitOpError("input width ") << width_of(getX()) << " differs from the weight's " << weight[1];
  if (width_of(getResult()) != weight[0]) return emitOpError("result width ") << width_of(getResult()) << " differs from the weight's rows " << weight[0];
  if (getBias() && shape_of(getBias())[0] != weight[0])
    return emitOpError("bias of ") << shape_of(getBias())[0] << " elements, expected " << weight[0];
  return success();
}

LogicalResult DequantizeOp::verify() {
  if (shape_of(getWeight()) != shape_of(getResult())) return emitOpError("operand and result must have the same shape");
  return success();
}

LogicalResult FusedLinearOp::verify() {
  if (!isGlu() && !isAdd() && getEpilogue() != "plain") return emitOpError("epilogue is 'plain', 'glu' or 'add', found '") << getEpilogue() << "'";
  const auto weight = shape_of(getWeight());
  if (width_of(getX()) != weight[1]) return emitOpError("input width ") << width_of(getX()) << " differs from the weight's " << weight[1];
  if (mlir::failed(verify_int8_rows(*this))) return failure();
  if (int8_rows_of(getX()) && (!isGlu() || getBias() || getSquares() || !element_of(getResult()).isF32()))
    return emitOpError("takes int8 rows for 'glu' alone, without bias and norm, and a float32 result");
  if (isGlu() && weight[0] % 2 != 0) return emitOpError("'glu' needs an even number of weight rows, found ") << weight[0];
  const int64_t width = isGlu() ? weight[0] / 2 : weight[0];
  if (width_of(getResult()) != width) return emitOpError("result width ") << width_of(getResult()) << ", expected " << width;
  if (!isGlu() && !element_of(getResult()).isF32()) return emitOpError("result is float32 but for 'glu'");
  if (getBias() && shape_of(getBias())[0] != weight[0])
    return emitOpError("bias of ") << shape_of(getBias())[0] << " elements, expected " << weight[0];
  if (isAdd() != bool(getResidual())) return emitOpError("takes a residual exactly for 'add'");
  if (getResidual() && width_of(getResidual()) != width) return emitOpError("residual width differs from the result's");
  if (getNormWeight() && (!isAdd() || shape_of(getNormWeight())[0] != width))
    return emitOpError("norm weights go with 'add' and have ") << width << " elements";
  if (bool(getNormWeight()) != bool(getScaled()) || bool(getNormWeight()) != bool(getSquaresOut()))
    return emitOpError("has the results 'scaled' and 'squares_out' exactly with norm weights");
  if (getScaled() && width_of(getScaled()) != width) return emitOpError("scaled result width differs from the result's");
  const int64_t parts = (width + kSquareColumns - 1) / kSquareColumns;
  if (getSquaresOut() && width_of(getSquaresOut()) != parts)
    return emitOpError("sums of squares have ") << width_of(getSquaresOut()) << " columns, expected " << parts;
  return success();
}

LogicalResult LinearRopeKvOp::verify() {
  const auto weight = shape_of(getWeight());
  const int64_t heads = getHeads(), kv_heads = getKvHeads(), head_dim = getHeadDim();
  if (heads <= 0 || kv_heads <= 0 || head_dim <= 0) return emitOpError("needs heads, kv_heads and head_dim > 0");
  if (width_of(getX()) != weight[1]) return emitOpError("input width ") << width_of(getX()) << " differs from the weight's " << weight[1];
  if (weight[0] != (heads + 2 * kv_heads) * head_dim) return emitOpError("weight rows are not whole heads of q, k and v");
  if (getBias() && shape_of(getBias())[0] != weight[0])
    return emitOpError("bias of ") << shape_of(getBias())[0] << " elements, expected " << weight[0];
  if (width_of(getTable()) > head_dim) return emitOpError("rotates more dims than a head has");
  if (width_of(getQOut()) != heads * head_dim) return emitOpError("result width ") << width_of(getQOut()) << ", expected " << heads * head_dim;
  return success();
}

LogicalResult SliceOp::verify() {
  const int64_t offset = getOffset();
  if (offset < 0 || offset + width_of(getResult()) > width_of(getX()))
    return emitOpError("columns ") << offset << " to " << offset + width_of(getResult()) << " lie outside of " << width_of(getX());
  return success();
}

mlir::OpFoldResult SliceOp::fold(FoldAdaptor) {
  if (getOffset() == 0 && getType() == getX().getType()) return getX();
  if (auto inner = getX().getDefiningOp<SliceOp>()) {  // slice(slice(x)) = slice(x)
    setOffset(getOffset() + inner.getOffset());
    getXMutable().assign(inner.getX());
    return getResult();
  }
  return {};
}

LogicalResult GatherRowsOp::verify() { return verify_unary(*this); }
LogicalResult SiluOp::verify() { return verify_unary(*this); }
LogicalResult AddOp::verify() { return verify_binary(*this); }
LogicalResult MulOp::verify() { return verify_binary(*this); }

LogicalResult GluOp::verify() {
  if (width_of(getGate()) != width_of(getUp()) || width_of(getGate()) != width_of(getResult()))
    return emitOpError("gate, up and result must be equally wide");
  return success();
}

LogicalResult RopeTableOp::verify() {
  if (static_cast<int64_t>(getInvFreq().size()) * 2 != width_of(getResult()))
    return emitOpError("table width ") << width_of(getResult()) << " is not twice the " << getInvFreq().size() << " frequencies";
  return success();
}

LogicalResult RopeOp::verify() {
  const int64_t head_dim = getHeadDim();
  if (head_dim <= 0 || width_of(getX()) % head_dim != 0) return emitOpError("width is not a multiple of head_dim");
  if (width_of(getTable()) > head_dim) return emitOpError("rotates more dims than a head has");
  return verify_unary(*this);
}

LogicalResult KvCacheOp::verify() {
  const int64_t layer = getLayer(), window = getWindow(), kv_heads = getKvHeads(), head_dim = getHeadDim();
  if (layer < 0 || window < 0 || kv_heads <= 0 || head_dim <= 0)
    return emitOpError("needs layer and window >= 0, kv_heads and head_dim > 0");
  mlir::Type element = getElement();
  if (!element.isF32() && !element.isF16() && !element.isBF16() && !element.isInteger(8))
    return emitOpError("holds f32, f16, bf16 or i8, found ") << element;
  return success();
}

LogicalResult KvWriteOp::verify() {
  if (width_of(getK()) != width_of(getV())) return emitOpError("k and v must be equally wide");
  return success();
}

LogicalResult RopeKvWriteOp::verify() {
  const int64_t head_dim = getHeadDim();
  if (head_dim <= 0) return emitOpError("needs head_dim > 0");
  for (mlir::Value v : {mlir::Value(getQ()), mlir::Value(getK()), mlir::Value(getV())})
    if (width_of(v) % head_dim != 0) return emitOpError("q, k and v must be whole heads of ") << head_dim;
  if (width_of(getK()) != width_of(getV())) return emitOpError("k and v must be equally wide");
  if (width_of(getTable()) > head_dim) return emitOpError("rotates more dims than a head has");
  if (bool(getQNorm()) != bool(getKNorm())) return emitOpError("takes both norms or neither");
  if (getQNorm() && (shape_of(getQNorm())[0] != head_dim || shape_of(getKNorm())[0] != head_dim))
    return emitOpError("norms must have ") << head_dim << " elements, one head's";
  if (width_of(getQ()) != width_of(getQOut())) return emitOpError("q and its result must be equally wide");
  return success();
}

LogicalResult AttentionOp::verify() {
  const int64_t heads = getHeads(), kv_heads = getKvHeads(), width = heads * static_cast<int64_t>(getHeadDim());
  if (heads <= 0 || kv_heads <= 0 || heads % kv_heads != 0)
    return emitOpError("needs heads to be a multiple of kv_heads, found ") << heads << " and " << kv_heads;
  if (width_of(getQ()) != width || width_of(getResult()) != width)
    return emitOpError("query and result must be ") << width << " wide (heads * head_dim)";
  return success();
}

}  // namespace llmc::ops
