// merge-qkv: see Passes.td.
#include "passes/MergeLinears.h"
#include "passes/Passes.h"

namespace llmc {
#define GEN_PASS_DEF_MERGEQKV
#include "passes/Passes.h.inc"

namespace {

// The linear that a query, key or value comes from, behind its rotation and per-head norm.
ops::LinearOp source_linear(mlir::Value v) {
  while (mlir::Operation* op = v.getDefiningOp()) {
    if (auto linear = mlir::dyn_cast<ops::LinearOp>(op)) return linear;
    if (!mlir::isa<ops::RopeOp, ops::RmsNormOp>(op)) return {};
    v = op->getOperand(0);
  }
  return {};
}

struct MergeQkv : impl::MergeQkvBase<MergeQkv> {
  void runOnOperation() override {
    llvm::SmallVector<ops::AttentionOp> attentions;
    getOperation().walk([&](ops::AttentionOp op) { attentions.push_back(op); });
    for (ops::AttentionOp attention : attentions) {
      auto write = attention.getCache().getDefiningOp<ops::KvWriteOp>();
      if (!write) continue;
      ops::LinearOp q = source_linear(attention.getQ()), k = source_linear(write.getK()), v = source_linear(write.getV());
      if (q && k && v && q != k && k != v && q != v) merge_linears({q, k, v});
    }
  }
};

}  // namespace
}  // namespace llmc
