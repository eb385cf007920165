// merge-gate-up: see Passes.td.
#include "passes/MergeLinears.h"
#include "passes/Passes.h"

namespace llmc {
#define GEN_PASS_DEF_MERGEGATEUP
#include "passes/Passes.h.inc"

namespace {

struct MergeGateUp : impl::MergeGateUpBase<MergeGateUp> {
  void runOnOperation() override {
    // Fused or not, gate and up meet in `glu` or in `mul(silu(gate), up)`.
    llvm::SmallVector<std::pair<ops::LinearOp, ops::LinearOp>> pairs;
    getOperation().walk([&](mlir::Operation* op) {
      mlir::Value gate, up;
      if (auto glu = mlir::dyn_cast<ops::GluOp>(op)) {
        gate = glu.getGate(), up = glu.getUp();
      } else if (auto mul = mlir::dyn_cast<ops::MulOp>(op)) {
        gate = mul.getLhs(), up = mul.getRhs();
        if (!gate.getDefiningOp<ops::SiluOp>()) std::swap(gate, up);
        auto silu = gate.getDefiningOp<ops::SiluOp>();
        if (!silu) return;
        gate = silu.getX();
      } else {
        return;
      }
      auto gate_linear = gate.getDefiningOp<ops::LinearOp>(), up_linear = up.getDefiningOp<ops::LinearOp>();
      if (gate_linear && up_linear && gate_linear != up_linear) pairs.push_back({gate_linear, up_linear});
    });
    for (auto [gate, up] : pairs) merge_linears({gate, up});
  }
};

}  // namespace
}  // namespace llmc
