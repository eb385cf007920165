// panel-operands: see Passes.td.
#include "passes/KernelShapes.h"
#include "passes/Passes.h"

namespace llmc {
#define GEN_PASS_DEF_PANELOPERANDS
#include "passes/Passes.h.inc"

namespace {

using ops::element_of;
using ops::width_of;

// Results that their kernels can write in panels.
mlir::Value candidate(mlir::Operation& op) {
  if (auto norm = mlir::dyn_cast<ops::RmsNormOp>(op)) {
    if (width_of(norm.getWeight()) == width_of(norm.getX())) return norm.getResult();
  } else if (auto fused = mlir::dyn_cast<ops::AddRmsNormOp>(op)) {
    return fused.getResult();
  } else if (mlir::isa<ops::GluOp, ops::AttentionOp>(op)) {
    return op.getResult(0);
  }
  return {};
}

class BucketPanels {
 public:
  BucketPanels(mlir::func::FuncOp function, const Target& target)
      : function_(function), target_(target), bucket_(bucket_of(function)) {}

  void run() {
    for (mlir::Operation& op : function_.getBody().front())
      if (mlir::Value v = candidate(op)) order(v);
  }

 private:
  // Predicted microseconds of the value's producer and readers, or none.
  std::optional<double> cost(mlir::Value v) {
    std::optional<double> us = cheapest_us(target_, work_of(v.getDefiningOp(), bucket_)->shape);
    for (mlir::Operation* user : v.getUsers()) {
      const auto reader = cheapest_us(target_, work_of(user, bucket_)->shape);
      if (!us || !reader) return std::nullopt;
      *us += *reader;
    }
    return us;
  }

  void order(mlir::Value v) {
    const mlir::Type before = v.getType(), element = element_of(v);
    if ((!element.isF32() && !element.isBF16()) || is_logit_rows(v) || v.use_empty() || width_of(v) % kPanelColumns != 0) return;
    for (mlir::Operation* user : v.getUsers())
      if (auto linear = mlir::dyn_cast<ops::LinearOp>(user); !linear || linear.getX() != v) return;
    const std::optional<double> rows_us = cost(v);
    v.setType(mlir::cast<mlir::RankedTensorType>(before).clone(ops::Bf16PanelsType::get(v.getContext())));
    const std::optional<double> panels_us = cost(v);
    if (!panels_us || !rows_us || *panels_us >= *rows_us) v.setType(before);
  }

  mlir::func::FuncOp function_;
  const Target& target_;
  Bucket bucket_;
};

struct PanelOperands : impl::PanelOperandsBase<PanelOperands> {
  void runOnOperation() override {
    const Target* target = module_target(getOperation());
    if (!target) return signalPassFailure();
    auto mode = getOperation()->getAttrOfType<mlir::StringAttr>(kActivationsAttr);
    if (!(target->features & llm::kAmxBf16) || (mode && mode.getValue() == "f32")) return;
    if (auto forced = getOperation()->getAttrOfType<mlir::DictionaryAttr>(kForceVariantAttr); forced && !forced.empty()) return;
    for (auto function : getOperation().getOps<mlir::func::FuncOp>())
      if (function->hasAttr(kBucketAttr)) BucketPanels(function, *target).run();
  }
};

}  // namespace
}  // namespace llmc
