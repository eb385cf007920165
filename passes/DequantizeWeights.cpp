// dequantize-weights: see Passes.td.
#include "passes/KernelShapes.h"
#include "passes/Passes.h"

namespace llmc {
#define GEN_PASS_DEF_DEQUANTIZEWEIGHTS
#include "passes/Passes.h.inc"

namespace {

struct DequantizeWeights : impl::DequantizeWeightsBase<DequantizeWeights> {
  void runOnOperation() override {
    const Target* target = module_target(getOperation());
    if (!target) return signalPassFailure();
    auto forced = getOperation()->getAttrOfType<mlir::DictionaryAttr>(kForceVariantAttr);
    for (auto function : getOperation().getOps<mlir::func::FuncOp>()) {
      if (!function->hasAttr(kBucketAttr)) continue;
      const Bucket bucket = bucket_of(function);
      llvm::SmallVector<ops::LinearOp> linears;
      function.walk([&](ops::LinearOp linear) { linears.push_back(linear); });
      for (ops::LinearOp linear : linears) try_dequantize(linear, bucket, *target, forced);
    }
  }

  static void try_dequantize(ops::LinearOp linear, const Bucket& bucket, const Target& target,
                             mlir::DictionaryAttr forced) {
    const auto type = ops::quantized_of(linear.getWeight());
    mlir::Type element = ops::element_of(linear.getX());
    if (!type || element.isF32()) return;
    if (linear.getBias() && ops::element_of(linear.getBias()) != element) return;
    const KernelShape quantized = work_of(linear, bucket)->shape;
    if (forced && (forced.contains("linear_quantized") || forced.contains("quantized_fused")))
      return;  // someone measures these
    // With kernels of codes: alone, or as the fused layer that it will become.
    KernelShape fused = quantized;
    fused.family = "quantized_fused";
    const std::optional<double> alone = cheapest_us(target, quantized), in_place = cheapest_us(target, fused);
    double before = alone.value_or(in_place.value_or(0));
    if (in_place) before = std::min(before, *in_place);
    mlir::OpBuilder b(linear);
    auto shape = mlir::cast<mlir::RankedTensorType>(linear.getWeight().getType()).getShape();
    auto dense =
        b.create<ops::DequantizeOp>(linear.getLoc(), mlir::RankedTensorType::get(shape, element), linear.getWeight());
    mlir::Value codes = linear.getWeight();
    linear.getWeightMutable().assign(dense.getResult());
    const std::optional<double> first = cheapest_us(target, work_of(dense, bucket)->shape),
                                then = cheapest_us(target, work_of(linear, bucket)->shape);
    const bool wanted = forced && forced.contains("dequantize");
    if (first && then && (wanted || *first + *then < before)) return;
    linear.getWeightMutable().assign(codes);
    dense.erase();
  }
};

}  // namespace
}  // namespace llmc
