// narrow-operands: see Passes.td.
#include "passes/Passes.h"
#include "passes/QuantizedWeights.h"

namespace llmc {
#define GEN_PASS_DEF_NARROWOPERANDS
#include "passes/Passes.h.inc"

namespace {

// Producers that can store their result in a narrower type: the result that may change, or null.
mlir::OpResult narrowable(mlir::Value v) {
  mlir::Operation* op = v.getDefiningOp();
  if (!op) return {};
  if (mlir::isa<ops::RmsNormOp, ops::GluOp, ops::MulOp, ops::AttentionOp>(op)) return op->getResult(0);
  if (auto fused = mlir::dyn_cast<ops::AddRmsNormOp>(op); fused && v == fused.getResult()) return mlir::cast<mlir::OpResult>(v);
  return {};
}

// What reads a value, gathers of its columns apart.
struct Readers {
  llvm::SmallVector<ops::LinearOp> linears;
  llvm::SmallVector<ops::GatherColumnsOp> gathers;
};

// None where something else reads it than the inputs of linear layers.
std::optional<Readers> readers_of(mlir::Value x) {
  Readers readers;
  llvm::SmallVector<mlir::Value> values = {x};
  while (!values.empty()) {
    const mlir::Value v = values.pop_back_val();
    for (mlir::Operation* user : v.getUsers()) {
      if (auto gather = mlir::dyn_cast<ops::GatherColumnsOp>(user)) {
        readers.gathers.push_back(gather);
        values.push_back(gather.getResult());
        continue;
      }
      auto linear = mlir::dyn_cast<ops::LinearOp>(user);
      if (!linear || linear.getX() != v) return std::nullopt;
      readers.linears.push_back(linear);
    }
  }
  return readers;
}

struct NarrowOperands : impl::NarrowOperandsBase<NarrowOperands> {
  void runOnOperation() override {
    const Target* target = module_target(getOperation());
    if (!target) return signalPassFailure();
    if (auto mode = getOperation()->getAttrOfType<mlir::StringAttr>(kActivationsAttr); mode && mode.getValue() == "f32") return;
    // What a layer's kernels take.
    const auto operand_of = [&](ops::LinearOp linear) -> mlir::Type {
      const mlir::Type weight = ops::element_of(linear.getWeight());
      if (auto quantized = ops::quantized_of(linear.getWeight())) {
        const auto shape = mlir::cast<mlir::RankedTensorType>(linear.getWeight().getType()).getShape();
        return quantized_operand(getOperation(), *target, quantized, shape[0], shape[1]);
      }
      if (weight.isF32()) return weight;
      if (weight.isF16() && wants_cublas(getOperation(), *target)) return weight;  // one type for both, sums in float32
      return element_type(&getContext(), weight.isF16() ? target->f16_operand : target->bf16_operand);
    };
    getOperation().walk([&](ops::LinearOp linear) {
      if (!ops::element_of(linear.getX()).isF32()) return;
      const mlir::Type operand = operand_of(linear);
      if (operand.isF32()) return;
      auto gathered = linear.getX().getDefiningOp<ops::GatherColumnsOp>();
      mlir::OpResult x = narrowable(gathered ? gathered.getX() : linear.getX());
      if (!x) return;
      const std::optional<Readers> readers = readers_of(x);
      if (!readers) return;
      for (ops::LinearOp other : readers->linears)
        if (operand_of(other) != operand) return;
      const auto narrow = mlir::cast<mlir::RankedTensorType>(x.getType()).clone(operand);
      x.setType(narrow);
      for (ops::GatherColumnsOp gather : readers->gathers) gather.getResult().setType(narrow);
    });
  }
};

}  // namespace
}  // namespace llmc
