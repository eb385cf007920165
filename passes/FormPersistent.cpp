// form-persistent: see Passes.td.
#include <cstddef>
#include <numeric>

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
  int64_t k = 0;              // greatest common divisor of the linear layers' inner extents
  int64_t widest = 1;         // the largest of them

  void add(std::optional<mlir::Type> t) {
    if (!t) return;
    if (type && type != *t) mixed = true;
    type = *t;
  }
};

constexpr size_t kKSlot = offsetof(llm_abi::FusedLinearArgs, k) / sizeof(llm_abi::u64);

// A linear launch's argument that is an integer.
int64_t integer_slot(exec::LaunchOp launch, size_t slot) {
  auto value = slot < launch.getSlots().size() ? mlir::dyn_cast<mlir::IntegerAttr>(launch.getSlots()[slot]) : mlir::IntegerAttr();
  return value ? value.getInt() : 0;
}

// The phase of a linear launch reads x and w by tensor copies, in boxes of eight rows (cuda/persistent_tile.h); the launch's own kernel takes
// no maps.
void add_tensor_maps(exec::LaunchOp launch, mlir::Type element, exec::ProgramOp program) {
  using Args = llm_abi::FusedLinearArgs;
  constexpr size_t kX = offsetof(Args, x) / 8, kW = offsetof(Args, w) / 8, kXMap = offsetof(Args, x_map) / 8, kWMap = offsetof(Args, w_map) / 8;
  constexpr int64_t kBoxRows = 8, kBoxRuns = 4, kRunBytes = 128, kRun = 64;
  const int64_t k = integer_slot(launch, kKSlot), n = integer_slot(launch, offsetof(Args, n) / 8);
  const int64_t counted = integer_slot(launch, offsetof(Args, row_count) / 8);
  const auto x_rows = static_cast<int64_t>(counted == llm_abi::kRowsTokens   ? program.getTokens()
                                           : counted == llm_abi::kRowsLogits ? program.getLogits()
                                                                             : program.getSeqs());
  mlir::MLIRContext* context = launch.getContext();
  llvm::SmallVector<mlir::Value> pointers;
  llvm::SmallVector<mlir::Attribute> slots;
  llvm::SmallVector<int8_t> access;
  for (auto [i, slot] : llvm::enumerate(launch.getSlots())) {
    const bool is_map = i == kXMap || i == kWMap;
    const std::optional<exec::SlotPointer> pointer = exec::pointer_of(is_map ? launch.getSlots()[i == kXMap ? kX : kW] : slot);
    if (!pointer) {
      slots.push_back(slot);
      continue;
    }
    const auto operand = static_cast<size_t>(pointer->operand);
    const auto number = static_cast<int64_t>(pointers.size());
    if (is_map) {
      slots.push_back(exec::TensorMapAttr::get(context, number, pointer->offset, element, {kRun, k / kRun, i == kXMap ? x_rows : n},
                                               {kRunBytes, k * 2}, {kRun, kBoxRuns, kBoxRows}, kRunBytes));
    } else {
      slots.push_back(exec::SlotAttr::get(context, number, pointer->offset));
    }
    pointers.push_back(launch.getPointers()[operand]);
    access.push_back(is_map ? static_cast<int8_t>(exec::kRead) : launch.getAccess()[operand]);
  }
  launch.getPointersMutable().assign(pointers);
  launch.setSlotsAttr(mlir::ArrayAttr::get(context, slots));
  launch.setAccess(access);
}

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
                              .rows = static_cast<int64_t>(std::max(program.getTokens(), program.getLogits())), .cols = types->widest, .k = types->k, .bytes = types->weight_bytes};
      const auto choice = choose_kernel(*target, shape, name);
      if (!choice) continue;
      program.setPersistentAttr(mlir::FlatSymbolRefAttr::get(symbols.kernel(*choice->best.variant, shape)));
      for (exec::LaunchOpInterface launch : launches_of(program))
        if (is_linear(launch)) add_tensor_maps(mlir::cast<exec::LaunchOp>(launch.getOperation()), types->type, program);
    }
  }

  exec::KernelOp kernel_of(exec::LaunchOpInterface launch) {
    auto op = mlir::dyn_cast<exec::LaunchOp>(launch.getOperation());
    return op ? getOperation().lookupSymbol<exec::KernelOp>(op.getKernel()) : exec::KernelOp();
  }
  bool is_linear(exec::LaunchOpInterface launch) {
    exec::KernelOp kernel = kernel_of(launch);
    return kernel && phase_body(kernel.getFamily()) >= llm_abi::kPhaseLinear;
  }

  // Nothing where a launch has no phase that does the same.
  std::optional<SharedTypes> phases_of(exec::ProgramOp program) {
    SharedTypes types;
    for (exec::LaunchOpInterface launch : launches_of(program)) {
      exec::KernelOp kernel = kernel_of(launch);
      const llm::Variant* variant = kernel ? find_variant(TargetKind::kCuda, kernel.getFamily(), kernel.getVariant()) : nullptr;
      const llm_abi::PhaseBody body = variant ? phase_body(variant->family) : llm_abi::kPhaseNone;
      if (body == llm_abi::kPhaseNone) return std::nullopt;
      const bool linear = body >= llm_abi::kPhaseLinear;
      if (linear) {
        const int64_t k = integer_slot(mlir::cast<exec::LaunchOp>(launch.getOperation()), kKSlot);
        types.k = std::gcd(types.k, k), types.widest = std::max(types.widest, k);
      }
      // A phase has maps of its own.
      if (linear ? variant->k_multiple % 8 != 0 || variant->x_box_rows : variant->tile_rows > 1) return std::nullopt;
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
