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
      llvm::MapVector<std::pair<mlir::Value, ops::Int8RowsType>, Readers> inputs;
      function.walk([&](ops::LinearOp linear) {
        if (const ops::Int8RowsType rows = int8_rows(*target, linear)) inputs[{linear.getX(), rows}].push_back(linear);
      });
      for (auto& [input, readers] : inputs) Choice(*target, bucket_of(function), input.first, readers).make(input.second, always);
    }
  }

  // With the most columns a scale that the layer can take, up to the target's; null: none.
  static ops::Int8RowsType int8_rows(const Target& target, ops::LinearOp linear) {
    constexpr int64_t kFewest = 32;
    const ops::QuantizedType weight = ops::quantized_of(linear.getWeight());
    if (!weight || !ops::element_of(linear.getX()).isF32()) return {};
    for (int64_t group = target.int8_group; group >= kFewest; group /= 2)
      if (ops::takes_int8_rows(weight, ops::width_of(linear.getX()), group))
        return ops::Int8RowsType::get(weight.getContext(), group, weight.storedBits(), /*panels=*/false);
    return {};
  }

  // Between the layers on the input as it is, and on one in int8 row by row or in panels.
  class Choice {
   public:
    Choice(const Target& target, const Bucket& bucket, mlir::Value x, Readers& readers)
        : target_(target), bucket_(bucket), x_(x), readers_(readers) {}

    void make(ops::Int8RowsType rows, bool always) {
      std::optional<double> best = always ? std::nullopt : layers_us();
      ops::QuantizeRowsOp chosen;
      for (const ops::Int8RowsType type : {rows, panels(rows)}) {
        if (!type) continue;
        ops::QuantizeRowsOp op = quantize(type);
        const std::optional<double> launch = cost(op), layers = layers_us();
        if (launch && layers && (!best || *launch + *layers < *best)) {
          best = *launch + *layers;
          if (chosen) chosen.erase();
          chosen = op;
          continue;
        }
        read(chosen ? chosen.getResult() : x_);
        op.erase();
      }
    }

   private:
    static ops::Int8RowsType panels(ops::Int8RowsType rows) {
      constexpr int64_t kColumns = 64;
      if (rows.getGroup() % kColumns != 0) return {};
      return ops::Int8RowsType::get(rows.getContext(), rows.getGroup(), rows.getBits(), /*panels=*/true);
    }

    ops::QuantizeRowsOp quantize(ops::Int8RowsType element) {
      mlir::OpBuilder b(x_.getContext());
      b.setInsertionPointAfterValue(x_);
      auto rows = b.create<ops::QuantizeRowsOp>(x_.getLoc(), mlir::cast<mlir::RankedTensorType>(x_.getType()).clone(element), x_);
      read(rows.getResult());
      return rows;
    }

    void read(mlir::Value input) {
      for (ops::LinearOp linear : readers_) linear.getXMutable().assign(input);
    }

    // Predicted microseconds of the operation's best kernel, or none; and of all readers.
    std::optional<double> cost(mlir::Operation* op) { return cheapest_us(target_, work_of(op, bucket_)->shape); }
    std::optional<double> layers_us() {
      double sum = 0;
      for (ops::LinearOp linear : readers_) {
        const std::optional<double> us = cost(linear);
        if (!us) return std::nullopt;
        sum += *us;
      }
      return sum;
    }

    const Target& target_;
    Bucket bucket_;
    mlir::Value x_;
    Readers& readers_;
  };
};

}  // namespace
}  // namespace llmc
