// fuse-glu: see Passes.td.
#include "passes/Passes.h"

namespace llmc {
#define GEN_PASS_DEF_FUSEGLU
#include "passes/Passes.h.inc"

namespace {

struct FuseGlu : impl::FuseGluBase<FuseGlu> {
  void runOnOperation() override {
    llvm::SmallVector<ops::MulOp> muls;
    getOperation().walk([&](ops::MulOp op) { muls.push_back(op); });
    for (ops::MulOp mul : muls) {
      mlir::Value gate = mul.getLhs(), up = mul.getRhs();
      if (!gate.getDefiningOp<ops::SiluOp>()) std::swap(gate, up);
      auto silu = gate.getDefiningOp<ops::SiluOp>();
      if (!silu) continue;
      mlir::OpBuilder builder(mul);
      auto glu = builder.create<ops::GluOp>(mul.getLoc(), mul.getType(), silu.getX(), up);
      mul.getResult().replaceAllUsesWith(glu.getResult());
      mul.erase();
      if (silu.use_empty()) silu.erase();
    }
  }
};

}  // namespace
}  // namespace llmc
