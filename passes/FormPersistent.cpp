// form-persistent: see Passes.td.
#include "passes/Hazards.h"
#include "passes/LaunchBuilder.h"

namespace llmc {
#define GEN_PASS_DEF_FORMPERSISTENT
#include "passes/Passes.h.inc"

namespace {

// The types that all kernels of a program share; a persistent kernel is instantiated for them.
struct SharedTypes {
  mlir::Type type;            // of weights, operands and cache
  std::optional<int64_t> head_dim;
  bool mixed = false;
  double weight_bytes = 0;    // that a step reads

  void add(std::optional<mlir::Type> t) {
    if (!t) return;
    if (type && type != *t) mixed = true;
    type = *t;
  }
};

struct FormPersistent : impl::FormPersistentBase<FormPersistent> {
  void runOnOperation() override {
    auto target_name = getOperation()->getAttrOfType<mlir::StringAttr>(kTargetAttr);
    const Target* target = target_name ? module_target(getOperation()) : nullptr;
    if (!target || target->kind != TargetKind::kCuda) return;
    std::string name;
    if (auto all = getOperation()->getAttrOfType<mlir::DictionaryAttr>(kForceVariantAttr))
      if (auto wanted = all.getAs<mlir::StringAttr>("persistent")) name = wanted.str();
    ExecSymbols symbols(getOperation(), *target);
    for (auto program : getOperation().getOps<exec::ProgramOp>()) {
      if (program.getKind() != "forward") continue;
      const int64_t tokens = static_cast<int64_t>(program.getTokens());
      if (name.empty() && (tokens < target->least_persistent_tokens || tokens > target->most_persistent_tokens)) continue;
      const std::optional<SharedTypes> types = phases_of(program);
      if (!types || !types->type || types->mixed || !types->head_dim) continue;
      const llm::ScalarType type = scalar_type(types->type);
      const KernelShape shape{.family = "persistent", .weight = type, .operand = type, .kv = type, .head_dim = *types->head_dim,
                              .rows = static_cast<int64_t>(std::max(program.getTokens(), program.getLogits())), .k = 8, .bytes = types->weight_bytes};
      const auto choice = choose_kernel(*target, shape, name);
      if (choice)
        program.setPersistentAttr(mlir::FlatSymbolRefAttr::get(symbols.kernel(*choice->best.variant, shape)));
    }
  }

  // Nothing where a launch has no phase that does the same.
  std::optional<SharedTypes> phases_of(exec::ProgramOp program) {
    SharedTypes types;
    for (exec::LaunchOpInterface launch : launches_of(program)) {
      auto op = mlir::dyn_cast<exec::LaunchOp>(launch.getOperation());
      auto kernel = op ? getOperation().lookupSymbol<exec::KernelOp>(op.getKernel()) : exec::KernelOp();
      const llm::Variant* variant = kernel ? find_variant(TargetKind::kCuda, kernel.getFamily(), kernel.getVariant()) : nullptr;
      const llm_abi::PhaseBody body = variant ? phase_body(variant->family) : llm_abi::kPhaseNone;
      if (body == llm_abi::kPhaseNone) return std::nullopt;
      const bool linear = body >= llm_abi::kPhaseLinear;
      if (linear ? variant->k_multiple % 8 != 0 : variant->tile_rows > 1) return std::nullopt;
      types.weight_bytes += launch.getBytes()[0];
      if (body == llm_abi::kPhaseAttention) types.head_dim = kernel.getHeadDim();
      // Without per-head norms the type of their weights is float.
      if (body != llm_abi::kPhaseRopeKvWrite) types.add(kernel.getWeight());
      types.add(kernel.getOperand());
      types.add(kernel.getKv());
    }
    return types;
  }
};

}  // namespace
}  // namespace llmc
