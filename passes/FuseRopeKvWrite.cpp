// fuse-rope-kv-write: see Passes.td.
#include "passes/Passes.h"

namespace llmc {
#define GEN_PASS_DEF_FUSEROPEKVWRITE
#include "passes/Passes.h.inc"

namespace {

// rope(x) or rope(rms_norm(x, weight)) with the norm per head.
struct Rotated {
  ops::RopeOp rope;
  ops::RmsNormOp norm;  // null without
  mlir::Value source() { return norm ? norm.getX() : rope.getX(); }
};

Rotated match(mlir::Value v) {
  Rotated r;
  r.rope = v.getDefiningOp<ops::RopeOp>();
  if (!r.rope) return r;
  auto norm = r.rope.getX().getDefiningOp<ops::RmsNormOp>();
  if (norm && ops::width_of(norm.getWeight()) == static_cast<int64_t>(r.rope.getHeadDim())) r.norm = norm;
  return r;
}

struct FuseRopeKvWrite : impl::FuseRopeKvWriteBase<FuseRopeKvWrite> {
  void runOnOperation() override {
    llvm::SmallVector<ops::AttentionOp> attentions;
    getOperation().walk([&](ops::AttentionOp op) { attentions.push_back(op); });
    for (ops::AttentionOp attention : attentions) fuse(attention);
  }

  void fuse(ops::AttentionOp attention) {
    auto write = attention.getCache().getDefiningOp<ops::KvWriteOp>();
    if (!write) return;
    Rotated q = match(attention.getQ()), k = match(write.getK());
    if (!q.rope || !k.rope || q.rope.getTable() != k.rope.getTable() || q.rope.getHeadDim() != k.rope.getHeadDim()) return;
    if (bool(q.norm) != bool(k.norm)) return;
    if (q.norm && q.norm.getEps() != k.norm.getEps()) return;
    if (!q.rope->hasOneUse() || !k.rope->hasOneUse() || !write->hasOneUse()) return;
    mlir::OpBuilder builder(attention);
    auto eps = q.norm ? q.norm.getEpsAttr() : builder.getF64FloatAttr(0);
    auto fused = builder.create<ops::RopeKvWriteOp>(
        builder.getFusedLoc({q.rope.getLoc(), write.getLoc()}), q.rope.getType(), write.getType(), q.source(), k.source(), write.getV(),
        q.rope.getTable(), q.norm ? q.norm.getWeight() : mlir::Value(), k.norm ? k.norm.getWeight() : mlir::Value(), write.getCache(),
        q.rope.getHeadDimAttr(), eps);
    attention.getQMutable().assign(fused.getQOut());
    attention.getCacheMutable().assign(fused.getCacheOut());
    write.erase();
    for (Rotated r : {q, k}) {
      r.rope.erase();
      if (r.norm && r.norm->use_empty()) r.norm.erase();
    }
  }
};

}  // namespace
}  // namespace llmc
