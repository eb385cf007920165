// quantize-activations: see Passes.td.
#include "llvm/ADT/MapVector.h"
#include "passes/KernelShapes.h"
#include "passes/Passes.h"

namespace llmc {
#define GEN_PASS_DEF_QUANTIZEACTIVATIONS
#include "passes/Passes.h.inc"

namespace {

// Linear layers that can share one quantized input.
using Readers = llvm::SmallVector<ops::LinearOp>;

struct QuantizeActivations : impl::QuantizeActivationsBase<QuantizeActivations> {
  void runOnOperation() override {
    const Target* target = module_target(getOperation());
    if (!target) return signalPassFailure();
    const auto mode = getOperation()->getAttrOfType<mlir::StringAttr>(kActivationsAttr);
    if (target->int8_group == 0 || (mode && mode.getValue() == "f32")) return;
    const bool always = mode && mode.getValue() == "int8";
    for (auto function : getOperation().getOps<mlir::func::FuncOp>()) {
      llvm::MapVector<std::pair<mlir::Value, int64_t>, Readers> inputs;  // by value and bits of the codes
      function.walk([&](ops::LinearOp linear) {
        const ops::QuantizedType weight = ops::quantized_of(linear.getWeight());
        if (!weight || !ops::element_of(linear.getX()).isF32()) return;
        if (!ops::takes_int8_rows(weight, ops::width_of(linear.getX()), target->int8_group)) return;
        inputs[{linear.getX(), weight.storedBits()}].push_back(linear);
      });
      for (auto& [input, readers] : inputs)
        quantize(*target, bucket_of(function), input.first, input.second, readers, always);
    }
  }

  // Predicted microseconds of the operation's best kernel, or none.
  static std::optional<double> cost(const Target& target, const Bucket& bucket, mlir::Operation* op) {
    return cheapest_us(target, work_of(op, bucket)->shape);
  }

  // Where the layers and the launch that quantizes their input cost less than the layers on the input as it is, or
  // `always`.
  static void quantize(const Target& target, const Bucket& bucket, mlir::Value x, int64_t bits, Readers& readers,
                       bool always) {
    mlir::OpBuilder b(x.getContext());
    b.setInsertionPointAfterValue(x);
    auto type = mlir::cast<mlir::RankedTensorType>(x.getType());
    const auto element = ops::Int8RowsType::get(x.getContext(), target.int8_group, bits);
    auto rows = b.create<ops::QuantizeRowsOp>(x.getLoc(), type.clone(element), x);
    const std::optional<double> launch = cost(target, bucket, rows);
    double before = 0, after = launch.value_or(0);
    bool possible = launch.has_value();
    for (ops::LinearOp linear : readers) {
      before += cost(target, bucket, linear).value_or(0);
      linear.getXMutable().assign(rows.getResult());
      const std::optional<double> us = cost(target, bucket, linear);
      possible &= us.has_value();
      after += us.value_or(0);
    }
    if (possible && (always || after < before)) return;
    for (ops::LinearOp linear : readers) linear.getXMutable().assign(x);
    rows.erase();
  }
};

}  // namespace
}  // namespace llmc
