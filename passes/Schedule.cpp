// schedule: see Passes.td.
#include "llvm/ADT/BitVector.h"
#include "passes/Hazards.h"
#include "passes/KernelTable.h"
#include "passes/Passes.h"

namespace llmc {
#define GEN_PASS_DEF_SCHEDULE
#include "passes/Passes.h.inc"

namespace {

struct Schedule : impl::ScheduleBase<Schedule> {
  void runOnOperation() override {
    auto name = getOperation()->getAttrOfType<mlir::StringAttr>(kTargetAttr);
    const Target* target = name ? module_target(getOperation()) : nullptr;
    const bool dependent_launch = target && (target->features & llm::kPdl);
    for (auto program : getOperation().getOps<exec::ProgramOp>()) schedule(program, dependent_launch);
  }

  // Whether the kernel has something to do before it waits for its predecessor. For the others a programmatic edge only costs: their
  // blocks take the places of the predecessor's. (A second edge would have to be a full one; a library's call neither waits nor
  // triggers.)
  bool starts_early(exec::LaunchOpInterface launch) {
    auto op = mlir::dyn_cast<exec::LaunchOp>(launch.getOperation());
    auto kernel = op ? getOperation().lookupSymbol<exec::KernelOp>(op.getKernel()) : exec::KernelOp();
    const llm::Variant* variant = kernel ? find_variant(TargetKind::kCuda, kernel.getFamily(), kernel.getVariant()) : nullptr;
    return variant && variant->waits_itself;
  }

  // A kernel that starts early loads its weights before it waits: not where they are made just before.
  bool writes_weights(exec::LaunchOpInterface launch) {
    auto op = mlir::dyn_cast<exec::LaunchOp>(launch.getOperation());
    auto kernel = op ? getOperation().lookupSymbol<exec::KernelOp>(op.getKernel()) : exec::KernelOp();
    return kernel && kernel.getFamily() == "dequantize";
  }

  void schedule(exec::ProgramOp program, bool dependent_launch) {
    std::vector<exec::LaunchOpInterface> launches = launches_of(program);
    std::map<std::string, ObjectState> objects;
    std::vector<llvm::BitVector> reach;  // reach[i]: launches that must come before i
    mlir::Builder b(program.getContext());
    for (size_t i = 0; i < launches.size(); ++i) {
      std::set<size_t> direct;
      for (const ObjectAccess& a : accesses_of(launches[i])) objects[a.object].record(i, a.access, direct);
      // Latest first: an edge that a later predecessor already implies is dropped.
      llvm::BitVector before(launches.size());
      std::vector<int64_t> after;
      for (auto it = direct.rbegin(); it != direct.rend(); ++it) {
        if (before.test(*it)) continue;
        after.push_back(static_cast<int64_t>(*it));
        before.set(*it);
        before |= reach[*it];
      }
      std::sort(after.begin(), after.end());
      reach.push_back(before);
      exec::LaunchOpInterface launch = launches[i];
      launch.setAfterAttr(b.getDenseI64ArrayAttr(after));
      if (dependent_launch && after.size() == 1 && starts_early(launch) && !writes_weights(launches[static_cast<size_t>(after[0])]))
        mlir::cast<exec::LaunchOp>(launch.getOperation())
            .setProgrammatic(mlir::isa<exec::LaunchOp>(launches[static_cast<size_t>(after[0])].getOperation()));
    }
  }
};

}  // namespace
}  // namespace llmc
