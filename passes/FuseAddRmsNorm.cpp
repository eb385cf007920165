// fuse-add-rms-norm: see Passes.td.
#include "passes/Passes.h"

namespace llmc {
#define GEN_PASS_DEF_FUSEADDRMSNORM
#include "passes/Passes.h.inc"

namespace {

struct FuseAddRmsNorm : impl::FuseAddRmsNormBase<FuseAddRmsNorm> {
  void runOnOperation() override {
    llvm::SmallVector<ops::RmsNormOp> norms;
    getOperation().walk([&](ops::RmsNormOp op) { norms.push_back(op); });
    for (ops::RmsNormOp norm : norms) {
      auto add = norm.getX().getDefiningOp<ops::AddOp>();
      // A norm over narrower groups (per head) is another kernel.
      if (!add || ops::width_of(norm.getX()) != ops::width_of(norm.getWeight())) continue;
      // The fused op stands where the sum stood, so that every user of the sum still follows it.
      mlir::OpBuilder builder(add);
      mlir::Operation* weight = norm.getWeight().getDefiningOp();
      if (!weight || !mlir::isa<ops::WeightOp>(weight)) continue;
      mlir::Value moved = builder.clone(*weight)->getResult(0);
      auto fused = builder.create<ops::AddRmsNormOp>(builder.getFusedLoc({add.getLoc(), norm.getLoc()}), add.getType(), norm.getType(),
                                                     add.getLhs(), add.getRhs(), moved, norm.getEpsAttr());
      norm.getResult().replaceAllUsesWith(fused.getResult());
      add.getResult().replaceAllUsesWith(fused.getSum());
      norm.erase();
      add.erase();
      if (weight->use_empty()) weight->erase();
    }
  }
};

}  // namespace
}  // namespace llmc
