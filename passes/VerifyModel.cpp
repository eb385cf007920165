// verify-model: see Passes.td.
#include "passes/Passes.h"

namespace llmc {
#define GEN_PASS_DEF_VERIFYMODEL
#include "passes/Passes.h.inc"

namespace {

struct VerifyModel : impl::VerifyModelBase<VerifyModel> {
  void runOnOperation() override {
    mlir::ModuleOp module = getOperation();
    for (llvm::StringRef name : {"forward", "sample"}) {
      if (!module.lookupSymbol<mlir::func::FuncOp>(name)) {
        module.emitError("verify-model: no function @") << name;
        return signalPassFailure();
      }
    }
    const auto result = module.walk([](mlir::Operation* op) {
      if (mlir::isa<mlir::ModuleOp, mlir::func::FuncOp, mlir::func::ReturnOp>(op)) return mlir::WalkResult::advance();
      if (!mlir::isa<ops::LlmDialect>(op->getDialect())) {
        op->emitError("verify-model: operation of another dialect: ") << op->getName();
        return mlir::WalkResult::interrupt();
      }
      if (mlir::isa<ops::WeightOp, ops::KvCacheOp>(op)) return mlir::WalkResult::advance();
      for (mlir::Value v : op->getResults()) {
        auto type = mlir::dyn_cast<mlir::RankedTensorType>(v.getType());
        if (!type) continue;
        bool leading = type.getRank() >= 1 && type.isDynamicDim(0);
        for (int64_t i = 1; i < type.getRank(); ++i) leading &= !type.isDynamicDim(i);
        if (!leading) {
          op->emitError("verify-model: an activation needs one dynamic leading dimension, found ") << type;
          return mlir::WalkResult::interrupt();
        }
      }
      return mlir::WalkResult::advance();
    });
    if (result.wasInterrupted()) signalPassFailure();
  }
};

}  // namespace
}  // namespace llmc
