#include "passes/Hazards.h"

namespace llmc {

std::vector<exec::LaunchOpInterface> launches_of(exec::ProgramOp program) {
  std::vector<exec::LaunchOpInterface> launches;
  for (auto launch : program.block().getOps<exec::LaunchOpInterface>()) launches.push_back(launch);
  return launches;
}

std::vector<ObjectAccess> accesses_of(exec::LaunchOpInterface launch) {
  std::vector<ObjectAccess> accesses;
  for (auto [pointer, access] : llvm::zip(launch.getPointers(), launch.getAccess())) {
    mlir::Operation* op = pointer.getDefiningOp();
    if (!op || mlir::isa<exec::ConstantPtrOp, exec::SourceOp>(op)) continue;
    auto weight = mlir::dyn_cast<exec::WeightPtrOp>(op);
    if (weight && op->getParentOfType<exec::ProgramOp>().getKind() != "init") continue;
    ObjectAccess a{.object = "", .access = access, .buffer = mlir::dyn_cast<exec::BufferOp>(op)};
    if (weight)
      a.object = "weight " + weight.getWeight().str();
    else if (a.buffer)
      a.object = "buffer " + std::to_string(reinterpret_cast<uintptr_t>(op));
    else if (auto io = mlir::dyn_cast<exec::IoOp>(op))
      a.object = "io " + io.getField().str();
    else if (auto state = mlir::dyn_cast<exec::StateOp>(op))
      a.object = "state " + state.getName().str();
    else if (auto kv = mlir::dyn_cast<exec::KvBaseOp>(op))
      a.object = "kv " + std::to_string(kv.getLayer());
    accesses.push_back(a);
  }
  return accesses;
}

void ObjectState::record(size_t launch, int8_t access, std::set<size_t>& predecessors) {
  const auto wait_for = [&](size_t other) {
    if (other != launch) predecessors.insert(other);
  };
  if (writer >= 0) wait_for(static_cast<size_t>(writer));
  if (access & exec::kWrite) {
    for (size_t r : readers) wait_for(r);
    readers.clear();
    writer = static_cast<int64_t>(launch);
  }
  if (access == exec::kRead) readers.push_back(launch);
}

std::vector<llvm::BitVector> order_of(const std::vector<exec::LaunchOpInterface>& launches) {
  std::vector<llvm::BitVector> before;
  for (exec::LaunchOpInterface launch : launches) {
    llvm::BitVector set(launches.size());
    if (auto after = launch.getAfter()) {
      for (int64_t i : *after) {
        set.set(static_cast<unsigned>(i));
        set |= before[static_cast<size_t>(i)];
      }
    }
    before.push_back(set);
  }
  return before;
}

}  // namespace llmc
