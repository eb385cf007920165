// fuse-epilogues: see Passes.td.
#include "passes/KernelShapes.h"
#include "passes/Passes.h"
#include "passes/QuantizedWeights.h"

namespace llmc {
#define GEN_PASS_DEF_FUSEEPILOGUES
#include "passes/Passes.h.inc"

namespace {

using ops::element_of;
using ops::FusedLinearOp;
using ops::width_of;

mlir::Type row_type(mlir::Value like, int64_t width, mlir::Type element) {
  return mlir::RankedTensorType::get({mlir::cast<mlir::RankedTensorType>(like.getType()).getShape()[0], width}, element);
}

class BucketFusion {
 public:
  BucketFusion(mlir::func::FuncOp function, const Target& target, bool cublas)
      : function_(function), target_(target), bucket_(bucket_of(function)), cublas_(cublas) {}

  void run() {
    for (auto glu : all<ops::GluOp>()) fuse_glu(glu);
    for (auto norm : all<ops::AddRmsNormOp>()) fuse_norm(norm);
    for (auto add : all<ops::AddOp>()) fuse_add(add);
    for (auto linear : all<ops::LinearOp>()) fuse_plain(linear);
    for (auto rope : all<ops::RopeKvWriteOp>()) fuse_rope(rope);
  }

 private:
  template <typename Op>
  llvm::SmallVector<Op> all() {
    llvm::SmallVector<Op> found;
    function_.walk([&](Op op) { found.push_back(op); });
    return found;
  }

  // The linear layer that computes `v` for one user alone.
  ops::LinearOp sole_linear(mlir::Value v) {
    auto linear = v.getDefiningOp<ops::LinearOp>();
    return linear && v.hasOneUse() && !stays_alone(linear) ? linear : ops::LinearOp();
  }
  // The type in which fused kernels read the bias and the weights of norms.
  static mlir::Type vector_type(ops::LinearOp linear) {
    return element_of(ops::quantized_of(linear.getWeight()) ? linear.getX() : linear.getWeight());
  }
  static bool in_panels(mlir::Value v) { return mlir::isa<ops::Bf16PanelsType>(element_of(v)); }
  // Left to the vendor's library, or to the kernels of quantized weights that know no epilogue.
  bool stays_alone(ops::LinearOp linear) {
    if (ops::quantized_of(linear.getWeight()))
      return (work_of(linear, bucket_)->shape.interleave != kFragmentOrder && !in_panels(linear.getX())) || element_of(linear.getX()).isF32() ||
             (linear.getBias() && element_of(linear.getBias()) != vector_type(linear));
    return cublas_ && choose_kernel(target_, work_of(linear, bucket_)->shape, "cublas");
  }

  // Kernels of int8 rows know one epilogue, on whole blocks of 16 outputs.
  static bool glu_in_int8(ops::LinearOp linear, int64_t half) {
    constexpr int64_t kBlock = 16;
    return ops::int8_rows_of(linear.getX()) && !linear.getBias() && half % kBlock == 0;
  }

  // Predicted microseconds of the operation's best kernel, or none.
  std::optional<double> cost(mlir::Operation* op) { return cheapest_us(target_, work_of(op, bucket_)->shape); }
  // Whether `fused` costs no more than what it replaces; erases it otherwise.
  bool pays(llvm::ArrayRef<FusedLinearOp> fused, llvm::ArrayRef<mlir::Operation*> replaced) {
    double before = 0, after = 0;
    bool possible = true;
    for (mlir::Operation* op : replaced) before += cost(op).value_or(0);
    for (FusedLinearOp op : fused) {
      const auto us = cost(op);
      possible &= us.has_value();
      after += us.value_or(0);
    }
    if (possible && after <= before) return true;
    for (FusedLinearOp op : llvm::reverse(fused)) op.erase();
    return false;
  }

  struct Extras {
    mlir::Value squares, residual, norm_weight;
    double eps = 0;
  };
  // `like` gives x, weight, bias and the result's rows.
  template <typename Linear>
  FusedLinearOp build(mlir::OpBuilder& b, Linear like, llvm::StringRef epilogue, mlir::Location loc, mlir::Type result, const Extras& e,
                      mlir::Type scaled = {}) {
    mlir::Type squares_out;
    if (scaled) {
      const int64_t parts = ceil_div(width_of(like.getResult()), FusedLinearOp::kSquareColumns);
      squares_out = row_type(like.getResult(), parts, b.getF32Type());
    }
    return b.create<FusedLinearOp>(loc, result, scaled, squares_out, like.getX(), like.getWeight(), like.getBias(), e.squares, e.residual,
                                   e.norm_weight, b.getStringAttr(epilogue), b.getF64FloatAttr(e.eps));
  }

  // silu(first half of a projection) * second half.
  void fuse_glu(ops::GluOp glu) {
    auto gate = glu.getGate().getDefiningOp<ops::SliceOp>(), up = glu.getUp().getDefiningOp<ops::SliceOp>();
    if (!gate || !up || gate.getX() != up.getX() || gate.getOffset() != 0) return;
    auto linear = gate.getX().getDefiningOp<ops::LinearOp>();
    const int64_t half = width_of(glu.getGate());
    if (!linear || (stays_alone(linear) && !glu_in_int8(linear, half)) || static_cast<int64_t>(up.getOffset()) != half || width_of(linear.getResult()) != 2 * half) return;
    for (mlir::Operation* user : linear->getUsers())
      if (user != gate && user != up) return;
    if (!gate->hasOneUse() || !up->hasOneUse() || in_panels(linear.getX()) != in_panels(glu.getResult())) return;
    mlir::OpBuilder b(glu);
    FusedLinearOp fused = build(b, linear, "glu", b.getFusedLoc({linear.getLoc(), glu.getLoc()}), glu.getType(), {});
    if (!pays(fused, {linear, glu})) return;
    glu.getResult().replaceAllUsesWith(fused.getResult());
    for (mlir::Operation* op : {glu.getOperation(), gate.getOperation(), up.getOperation(), linear.getOperation()}) op->erase();
  }

  // residual + projection, normalized for the projections that follow: the sum, and the norm's weight, go behind the first; the norm's scale
  // behind the products of the others, which may take its columns in another order.
  void fuse_norm(ops::AddRmsNormOp norm) {
    ops::LinearOp before = sole_linear(norm.getDelta());
    if (!before || norm.getResult().use_empty() || element_of(norm.getWeight()) != vector_type(before)) return;
    mlir::OpBuilder b(norm);
    Extras extras{.squares = {}, .residual = norm.getResidual(), .norm_weight = norm.getWeight()};
    llvm::SmallVector<FusedLinearOp> fused;
    fused.push_back(build(b, before, "add", b.getFusedLoc({before.getLoc(), norm.getLoc()}), norm.getSum().getType(), extras,
                          norm.getResult().getType()));
    llvm::SmallVector<mlir::Operation*> replaced = {before, norm}, users;
    FusedLinearOp first = fused[0];
    const auto follow = [&](auto linear, llvm::StringRef epilogue, mlir::Type type) {
      mlir::OpBuilder at(linear);
      FusedLinearOp next = build(at, linear, epilogue, linear.getLoc(), type, {first.getSquaresOut(), {}, {}, norm.getEps().convertToDouble()});
      if (linear.getX() == norm.getResult()) next.getXMutable().assign(first.getScaled());
      fused.push_back(next), replaced.push_back(linear), users.push_back(linear);
    };
    bool all_follow = true;
    llvm::SmallVector<ops::GatherColumnsOp> gathers;
    llvm::SmallVector<mlir::Operation*> readers;
    for (mlir::Operation* user : norm.getResult().getUsers()) {
      auto gather = mlir::dyn_cast<ops::GatherColumnsOp>(user);
      if (!gather) {
        readers.push_back(user);
        continue;
      }
      gathers.push_back(gather);
      readers.append(gather->user_begin(), gather->user_end());
    }
    for (mlir::Operation* user : readers) {
      auto linear = mlir::dyn_cast<ops::LinearOp>(user);
      auto glu = mlir::dyn_cast<FusedLinearOp>(user);
      if (linear && !stays_alone(linear))
        follow(linear, "plain", linear.getType());
      else if (glu && glu.isGlu() && !glu.getSquares())
        follow(glu, "glu", glu.getResult().getType());
      else
        all_follow = false;
    }
    if (!all_follow) {
      for (FusedLinearOp op : llvm::reverse(fused)) op.erase();
      return;
    }
    if (!pays(fused, replaced)) return;
    norm.getSum().replaceAllUsesWith(first.getResult());
    for (ops::GatherColumnsOp gather : gathers) gather.getXMutable().assign(first.getScaled());
    for (size_t i = 0; i < users.size(); ++i) {
      users[i]->getResult(0).replaceAllUsesWith(fused[i + 1].getResult());
      users[i]->erase();
    }
    norm.erase();
    before.erase();
  }

  void fuse_add(ops::AddOp add) {
    for (bool swapped : {false, true}) {
      ops::LinearOp linear = sole_linear(swapped ? add.getLhs() : add.getRhs());
      if (!linear) continue;
      mlir::OpBuilder b(add);
      Extras extras{.squares = {}, .residual = swapped ? add.getRhs() : add.getLhs(), .norm_weight = {}};
      FusedLinearOp fused = build(b, linear, "add", b.getFusedLoc({linear.getLoc(), add.getLoc()}), add.getType(), extras);
      if (!pays(fused, {linear, add})) continue;
      add.getResult().replaceAllUsesWith(fused.getResult());
      add.erase();
      linear.erase();
      return;
    }
  }

  // RoPE and the cache write behind the projections that they rotate, where these are merged and a kernel finds whole units of heads.
  void fuse_rope(ops::RopeKvWriteOp rope) {
    const int64_t head_dim = rope.getHeadDim(), half = width_of(rope.getTable()) / 2;
    if (rope.getQNorm() || head_dim % 16 != 0 || half % 8 != 0) return;
    auto q = rope.getQ().getDefiningOp<ops::SliceOp>(), k = rope.getK().getDefiningOp<ops::SliceOp>(), v = rope.getV().getDefiningOp<ops::SliceOp>();
    if (!q || !k || !v || q.getX() != k.getX() || q.getX() != v.getX() || !q->hasOneUse() || !k->hasOneUse() || !v->hasOneUse()) return;
    const int64_t q_width = width_of(rope.getQ()), k_width = width_of(rope.getK());
    auto fused = q.getX().getDefiningOp<FusedLinearOp>();
    auto plain = q.getX().getDefiningOp<ops::LinearOp>();
    if (fused ? fused.isGlu() || fused.isAdd() : !plain || stays_alone(plain)) return;
    mlir::Operation* linear = q.getX().getDefiningOp();
    if (std::distance(linear->user_begin(), linear->user_end()) != 3) return;
    if (q.getOffset() != 0 || static_cast<int64_t>(k.getOffset()) != q_width || static_cast<int64_t>(v.getOffset()) != q_width + k_width) return;
    mlir::OpBuilder b(rope);
    const auto build_from = [&](auto op, mlir::Value squares, mlir::FloatAttr eps) {
      return b.create<ops::LinearRopeKvOp>(b.getFusedLoc({op.getLoc(), rope.getLoc()}), rope.getQOut().getType(), rope.getCacheOut().getType(),
                                           op.getX(), op.getWeight(), op.getBias(), squares, rope.getTable(), rope.getCache(),
                                           b.getI64IntegerAttr(q_width / head_dim), b.getI64IntegerAttr(k_width / head_dim),
                                           rope.getHeadDimAttr(), eps);
    };
    ops::LinearRopeKvOp with_rope = fused ? build_from(fused, fused.getSquares(), fused.getEpsAttr()) : build_from(plain, {}, b.getF64FloatAttr(0));
    const auto after = cost(with_rope);
    if (!after || *after > cost(linear).value_or(0) + cost(rope).value_or(0)) {
      with_rope.erase();
      return;
    }
    rope.getQOut().replaceAllUsesWith(with_rope.getQOut());
    rope.getCacheOut().replaceAllUsesWith(with_rope.getCacheOut());
    for (mlir::Operation* op : {rope.getOperation(), q.getOperation(), k.getOperation(), v.getOperation(), linear}) op->erase();
  }

  void fuse_plain(ops::LinearOp linear) {
    if (stays_alone(linear)) return;
    mlir::OpBuilder b(linear);
    FusedLinearOp fused = build(b, linear, "plain", linear.getLoc(), linear.getType(), {});
    if (!pays(fused, {linear})) return;
    linear.getResult().replaceAllUsesWith(fused.getResult());
    linear.erase();
  }

  mlir::func::FuncOp function_;
  const Target& target_;
  Bucket bucket_;
  bool cublas_;
};

struct FuseEpilogues : impl::FuseEpiloguesBase<FuseEpilogues> {
  void runOnOperation() override {
    const Target* target = module_target(getOperation());
    if (!target) return signalPassFailure();
    auto forced = getOperation()->getAttrOfType<mlir::DictionaryAttr>(kForceVariantAttr);
    if (forced && forced.contains("linear")) return;
    for (auto function : getOperation().getOps<mlir::func::FuncOp>())
      if (function->hasAttr(kBucketAttr)) BucketFusion(function, *target, wants_cublas(getOperation(), *target)).run();
  }
};

}  // namespace
}  // namespace llmc
