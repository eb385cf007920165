#include "passes/MergeLinears.h"

#include "mlir/IR/Builders.h"

namespace llmc {
namespace {

using mlir::RankedTensorType;

// One weight op that stacks the rows of all.
ops::WeightOp stack(mlir::OpBuilder& builder, mlir::Location loc, llvm::ArrayRef<ops::WeightOp> weights) {
  llvm::SmallVector<mlir::Attribute> parts;
  int64_t rows = 0;
  for (ops::WeightOp w : weights) {
    parts.append(w.getParts().begin(), w.getParts().end());
    rows += mlir::cast<RankedTensorType>(w.getType()).getShape()[0];
  }
  ops::WeightOp front = weights[0];
  auto first = mlir::cast<RankedTensorType>(front.getType());
  llvm::SmallVector<int64_t> shape(first.getShape());
  shape[0] = rows;
  return builder.create<ops::WeightOp>(loc, RankedTensorType::get(shape, first.getElementType()), builder.getArrayAttr(parts));
}

}  // namespace

bool merge_linears(llvm::ArrayRef<ops::LinearOp> linears) {
  llvm::SmallVector<ops::WeightOp> weights, biases;
  ops::LinearOp first = linears[0];
  for (ops::LinearOp linear : linears) {
    auto weight = linear.getWeight().getDefiningOp<ops::WeightOp>();
    if (!weight || linear.getX() != first.getX() || ops::element_of(weight) != ops::element_of(first.getWeight())) return false;
    if (bool(linear.getBias()) != bool(first.getBias())) return false;
    weights.push_back(weight);
    if (linear.getBias()) {
      auto bias = linear.getBias().getDefiningOp<ops::WeightOp>();
      if (!bias || ops::element_of(bias) != ops::element_of(first.getBias())) return false;
      biases.push_back(bias);
    }
  }
  // The merged op goes before the earliest user; the input and all weights must dominate it, which holds at the last linear when
  // every linear's users come behind it, and always at the first linear once the weights are built there.
  ops::LinearOp earliest = first;
  for (ops::LinearOp linear : linears)
    if (linear->getBlock() != first->getBlock()) return false;
  for (ops::LinearOp linear : linears)
    if (linear->isBeforeInBlock(earliest)) earliest = linear;
  mlir::OpBuilder builder(earliest);
  const auto loc = builder.getFusedLoc(llvm::map_to_vector(linears, [](ops::LinearOp l) { return l.getLoc(); }));
  ops::WeightOp weight = stack(builder, loc, weights);
  mlir::Value bias = biases.empty() ? mlir::Value() : stack(builder, loc, biases).getResult();
  auto type = mlir::cast<RankedTensorType>(first.getType());
  const int64_t rows = mlir::cast<RankedTensorType>(weight.getType()).getShape()[0];
  auto merged = builder.create<ops::LinearOp>(loc, RankedTensorType::get({type.getShape()[0], rows}, type.getElementType()), first.getX(),
                                              weight, bias);
  int64_t offset = 0;
  for (ops::LinearOp linear : linears) {
    auto slice = builder.create<ops::SliceOp>(linear.getLoc(), linear.getType(), merged, offset);
    offset += ops::width_of(linear.getResult());
    linear.getResult().replaceAllUsesWith(slice);
  }
  for (ops::LinearOp linear : linears) linear.erase();
  return true;
}

}  // namespace llmc
