// order-glu-rows: see Passes.td.
#include "passes/Passes.h"

namespace llmc {
#define GEN_PASS_DEF_ORDERGLUROWS
#include "passes/Passes.h.inc"

namespace {

// One part of a weight.
struct Part {
  ops::WeightOp weight;
  size_t index;
};

// The part whose product is `half`, all of it, if nothing but `glu` reads the product of its weight.
std::optional<Part> part_of(mlir::Value half, ops::GluOp glu) {
  auto slice = half.getDefiningOp<ops::SliceOp>();
  auto linear = (slice ? slice.getX() : half).getDefiningOp<ops::LinearOp>();
  if (!linear || linear.getBias()) return std::nullopt;
  for (mlir::Operation* user : linear->getUsers()) {
    if (mlir::isa<ops::SliceOp>(user) && user->hasOneUse()) user = *user->user_begin();
    if (user != glu) return std::nullopt;
  }
  auto weight = linear.getWeight().getDefiningOp<ops::WeightOp>();
  if (!weight || !weight->hasOneUse()) return std::nullopt;
  int64_t row = slice ? -static_cast<int64_t>(slice.getOffset()) : 0;
  for (size_t i = 0; i < weight.getParts().size() && row <= 0; ++i) {
    const auto part = mlir::dyn_cast<ops::QuantizedPartAttr>(weight.getParts()[i]);
    if (!part) return std::nullopt;
    if (row == 0 && part.getRows() == ops::width_of(half) && !part.getRowsBy()) return Part{weight, i};
    row += part.getRows();
  }
  return std::nullopt;
}

void order_rows(Part at, mlir::StringAttr group_of, int64_t group) {
  llvm::SmallVector<mlir::Attribute> parts(at.weight.getParts().getValue());
  const auto p = mlir::cast<ops::QuantizedPartAttr>(parts[at.index]);
  parts[at.index] = ops::QuantizedPartAttr::get(p.getContext(), p.getRows(), p.getCodes(), p.getZeros(), p.getScales(), p.getGroupOf(),
                                                group_of, group);
  at.weight.setPartsAttr(mlir::ArrayAttr::get(p.getContext(), parts));
}

struct OrderGluRows : impl::OrderGluRowsBase<OrderGluRows> {
  void runOnOperation() override {
    llvm::SmallVector<ops::GatherColumnsOp> gathers;
    getOperation().walk([&](ops::GatherColumnsOp op) { gathers.push_back(op); });
    for (ops::GatherColumnsOp gather : gathers) {
      auto glu = gather.getX().getDefiningOp<ops::GluOp>();
      auto order = gather.getGroupOf().getDefiningOp<ops::WeightOp>();
      if (!glu || !glu->hasOneUse() || !order) continue;
      const std::optional<Part> gate = part_of(glu.getGate(), glu), up = part_of(glu.getUp(), glu);
      if (!gate || !up) continue;
      const mlir::StringAttr group_of = mlir::StringAttr::get(&getContext(), mlir::cast<ops::PartAttr>(order.getParts()[0]).getKey());
      for (Part part : {*gate, *up}) order_rows(part, group_of, static_cast<int64_t>(gather.getGroup()));
      gather.getResult().replaceAllUsesWith(glu.getResult());
      gather.erase();
      if (order->use_empty()) order.erase();
    }
  }
};

}  // namespace
}  // namespace llmc
