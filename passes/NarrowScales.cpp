// narrow-scales: see Passes.td.
#include "passes/Passes.h"
#include "passes/QuantizedWeights.h"

namespace llmc {
#define GEN_PASS_DEF_NARROWSCALES
#include "passes/Passes.h.inc"

namespace {

// That of the embedding: what a dense checkpoint of the model would hold.
mlir::Type model_type(mlir::ModuleOp module) {
  mlir::Type type;
  module.walk([&](ops::EmbedOp embed) { type = ops::element_of(embed.getTable()); });
  return type;
}

// Whether a code times an fp16 scale is as near to the weight as fp16 itself: the values of codes are at most 1. With larger ones scales may
// be too small for fp16.
bool within_one(ops::QuantizedType type) {
  return type.storage() == llm::CodeType::kNf4 || type.storage() == llm::CodeType::kFp4;
}

struct NarrowScales : impl::NarrowScalesBase<NarrowScales> {
  void runOnOperation() override {
    mlir::ModuleOp module = getOperation();
    const Target* target = module_target(module);
    if (!target) return signalPassFailure();
    const mlir::Type narrow = model_type(module);
    if (!narrow || narrow.isF32()) return;
    module.walk([&](ops::WeightOp weight) {
      auto type = mlir::cast<mlir::RankedTensorType>(weight.getType());
      const auto q = mlir::dyn_cast<ops::QuantizedType>(type.getElementType());
      if (!q || !q.getScale().isF32() || (narrow.isF16() && !within_one(q))) return;
      const auto rounded = ops::QuantizedType::get(q.getContext(), q.getCode(), q.getGroup(), narrow, q.getZeros(), q.getOrdered());
      if (quantized_operand(module, *target, rounded, type.getShape()[0], type.getShape()[1]).isF32()) return;
      weight.getResult().setType(type.clone(rounded));
    });
  }
};

}  // namespace
}  // namespace llmc
