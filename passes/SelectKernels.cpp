// select-kernels: see Passes.td.
#include <map>

#include "passes/KernelShapes.h"
#include "passes/Passes.h"
#include "passes/Tuning.h"

namespace llmc {
#define GEN_PASS_DEF_SELECTKERNELS
#include "passes/Passes.h.inc"

namespace {

std::string microseconds(const RatedVariant& rated) {
  char text[48];
  std::snprintf(text, sizeof text, "%.2f us %s", rated.us, rated.measured ? "measured" : "predicted");
  return text;
}

struct SelectKernels : impl::SelectKernelsBase<SelectKernels> {
  void runOnOperation() override {
    const Target* target = module_target(getOperation());
    if (!target) return signalPassFailure();
    auto forced = getOperation()->getAttrOfType<mlir::DictionaryAttr>(kForceVariantAttr);
    if (forced && !families_exist(*target, forced)) return signalPassFailure();
    std::string bad_tuning;
    const std::optional<Tuning> tuning = module_tuning(bad_tuning);
    if (!bad_tuning.empty()) {
      getOperation().emitError(bad_tuning);
      return signalPassFailure();
    }
    const Tuning* measured = tuning ? &*tuning : nullptr;
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
        llm::Result<KernelChoice> choice = choose_kernel(*target, work->shape, name, measured);
        if (!name.empty()) {
          Refusal& refusal = refusals[work->shape.family];
          if (choice)
            refusal.served = true;
          else if (!refusal.first)
            refusal.first = op, refusal.why = choice.error().message;
          if (!choice) choice = choose_kernel(*target, work->shape, "", measured);
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

  // What llm.tuning holds; nothing without it.
  std::optional<Tuning> module_tuning(std::string& error) {
    auto text = getOperation()->getAttrOfType<mlir::StringAttr>(kTuningAttr);
    if (!text) return std::nullopt;
    std::vector<std::string> ignored;  // whoever wrote the attribute has shown them
    auto tuning = Tuning::parse(text.getValue(), kTuningAttr.str(), ignored);
    if (tuning) return std::move(*tuning);
    error = tuning.error().message;
    return std::nullopt;
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
    entries.push_back(b.getNamedAttr("variant", b.getStringAttr(choice.best.variant->name)));
    entries.push_back(b.getNamedAttr("cost", b.getStringAttr(microseconds(choice.best))));
    const RatedVariant& second = choice.runner_up;
    const std::string other = second.variant ? std::string(second.variant->name) + " (" + microseconds(second) + ", " : "none (";
    entries.push_back(b.getNamedAttr("runner_up", b.getStringAttr(other + "chosen " + microseconds(choice.best) + ")")));
    op->setAttr(kKernelAttr, b.getDictionaryAttr(entries));
  }
};

}  // namespace
}  // namespace llmc
