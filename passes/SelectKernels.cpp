// select-kernels: see Passes.td.
#include <map>

#include "passes/KernelShapes.h"
#include "passes/Passes.h"

namespace llmc {
#define GEN_PASS_DEF_SELECTKERNELS
#include "passes/Passes.h.inc"

namespace {

std::string microseconds(double us) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f us", us);
  return text;
}

struct SelectKernels : impl::SelectKernelsBase<SelectKernels> {
  void runOnOperation() override {
    const Target* target = module_target(getOperation());
    if (!target) return signalPassFailure();
    auto forced = getOperation()->getAttrOfType<mlir::DictionaryAttr>(kForceVariantAttr);
    if (forced && !families_exist(*target, forced)) return signalPassFailure();
    const bool cublas = wants_cublas(getOperation(), *target);
    std::map<std::string, Refusal> refusals;
    for (auto function : getOperation().getOps<mlir::func::FuncOp>()) {
      const Bucket bucket = bucket_of(function);
      const auto result = function.walk([&](mlir::Operation* op) {
        if (!mlir::isa<ops::LlmDialect>(op->getDialect())) return mlir::WalkResult::advance();
        const std::optional<OpWork> work = work_of(op, bucket);
        if (!work) return mlir::WalkResult::advance();
        std::string name;
        if (forced)
          if (auto wanted = forced.getAs<mlir::StringAttr>(work->shape.family)) name = wanted.str();
        llm::Result<KernelChoice> choice = choose_kernel(*target, work->shape, name);
        if (!name.empty()) {
          Refusal& refusal = refusals[work->shape.family];
          if (choice)
            refusal.served = true;
          else if (!refusal.first)
            refusal.first = op, refusal.why = choice.error().message;
          if (!choice) choice = choose_kernel(*target, work->shape, "");
        }
        if (name.empty() && cublas && mlir::isa<ops::LinearOp>(op))
          if (auto external = choose_kernel(*target, work->shape, "cublas")) choice = external;
        if (!choice) {
          op->emitError(choice.error().message);
          return mlir::WalkResult::interrupt();
        }
        annotate(op, *choice);
        return mlir::WalkResult::advance();
      });
      if (result.wasInterrupted()) return signalPassFailure();
    }
    for (const auto& [family, refusal] : refusals) {
      if (refusal.served || !refusal.first) continue;
      refusal.first->emitError(refusal.why);
      return signalPassFailure();
    }
  }

  // A forced variant need not serve every bucket (tensor cores want many rows), but one at least.
  struct Refusal {
    mlir::Operation* first = nullptr;
    std::string why;
    bool served = false;
  };

  // A family that nobody has heard of would be ignored in silence.
  bool families_exist(const Target& target, mlir::DictionaryAttr forced) {
    for (mlir::NamedAttribute entry : forced) {
      const auto variants = all_variants(target.kind);
      if (llvm::any_of(variants, [&](const llm::Variant& v) { return entry.getName() == v.family; })) continue;
      getOperation().emitError("target ")
          << target.name << " has no kernel family '" << entry.getName().getValue() << "'";
      return false;
    }
    return true;
  }

  static void annotate(mlir::Operation* op, const KernelChoice& choice) {
    mlir::Builder b(op->getContext());
    llvm::SmallVector<mlir::NamedAttribute> entries;
    entries.push_back(b.getNamedAttr("variant", b.getStringAttr(choice.variant->name)));
    entries.push_back(b.getNamedAttr("predicted", b.getStringAttr(microseconds(choice.cost_us))));
    if (choice.runner_up)
      entries.push_back(b.getNamedAttr(
          "runner_up", b.getStringAttr(std::string(choice.runner_up->name) + " (" + microseconds(choice.runner_up_us) +
                                       ", chosen " + microseconds(choice.cost_us) + ")")));
    op->setAttr(kKernelAttr, b.getDictionaryAttr(entries));
  }
};

}  // namespace
}  // namespace llmc
