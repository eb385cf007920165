// verify-exec: see Passes.td.
#include "mlir/IR/SymbolTable.h"
#include "passes/Hazards.h"
#include "passes/Passes.h"

namespace llmc {
#define GEN_PASS_DEF_VERIFYEXEC
#include "passes/Passes.h.inc"

namespace {

struct VerifyExec : impl::VerifyExecBase<VerifyExec> {
  void runOnOperation() override {
    for (auto weight : getOperation().getOps<exec::WeightOp>())
      if (auto init = weight.getInitKernelAttr(); init && !resolves<exec::KernelOp>(weight, init, "kernel")) return signalPassFailure();
    for (auto program : getOperation().getOps<exec::ProgramOp>())
      if (!symbols_resolve(program) || !hazards_are_ordered(program) || !arguments_are_inside(program) ||
          !memory_is_disjoint(program))
        return signalPassFailure();
  }

  template <typename SymbolOp>
  static bool resolves(mlir::Operation* user, mlir::FlatSymbolRefAttr symbol, llvm::StringRef kind) {
    if (mlir::SymbolTable::lookupNearestSymbolFrom<SymbolOp>(user, symbol)) return true;
    user->emitError("verify-exec: no ") << kind << " " << symbol;
    return false;
  }

  static bool symbols_resolve(exec::ProgramOp program) {
    bool ok = true;
    program.walk([&](mlir::Operation* op) {
      if (auto launch = mlir::dyn_cast<exec::LaunchOp>(op)) ok &= resolves<exec::KernelOp>(op, launch.getKernelAttr(), "kernel");
      if (auto weight = mlir::dyn_cast<exec::WeightPtrOp>(op)) ok &= resolves<exec::WeightOp>(op, weight.getWeightAttr(), "weight");
      if (auto constant = mlir::dyn_cast<exec::ConstantPtrOp>(op))
        ok &= resolves<exec::ConstantOp>(op, constant.getConstantAttr(), "constant");
    });
    return ok;
  }

  static bool arguments_are_inside(exec::ProgramOp program) {
    for (exec::LaunchOpInterface launch : launches_of(program)) {
      for (mlir::Attribute slot : launch.getSlots()) {
        const std::optional<exec::SlotPointer> argument = exec::pointer_of(slot);
        if (!argument) continue;
        auto buffer = launch.getPointers()[static_cast<size_t>(argument->operand)].getDefiningOp<exec::BufferOp>();
        auto gemm = mlir::dyn_cast<exec::GemmOp>(launch.getOperation());  // the one whose extents are known, besides tensor maps
        auto map = mlir::dyn_cast<exec::TensorMapAttr>(slot);
        const int64_t extent = map ? map.extent() : gemm ? gemm.extent(static_cast<size_t>(argument->operand)) : 1;
        if (!buffer || argument->offset + extent <= static_cast<int64_t>(buffer.getBytes())) continue;
        launch->emitError("verify-exec: an argument beyond buffer '") << buffer.getName() << "' of " << buffer.getBytes() << " bytes";
        return false;
      }
    }
    return true;
  }

  // Each launch's `after` list covers every hazard with an earlier launch on the same object.
  static bool hazards_are_ordered(exec::ProgramOp program) {
    const std::vector<exec::LaunchOpInterface> launches = launches_of(program);
    for (size_t i = 0; i < launches.size(); ++i) {
      exec::LaunchOpInterface launch = launches[i];
      auto after = launch.getAfter();
      if (!after) {
        launch->emitError("verify-exec: a launch without its list of predecessors");
        return false;
      }
    }
    const std::vector<llvm::BitVector> before = order_of(launches);
    std::map<std::string, ObjectState> objects;
    for (size_t i = 0; i < launches.size(); ++i) {
      std::set<size_t> needed;
      for (const ObjectAccess& a : accesses_of(launches[i])) objects[a.object].record(i, a.access, needed);
      for (size_t p : needed) {
        if (before[i].test(static_cast<unsigned>(p))) continue;
        exec::LaunchOpInterface launch = launches[i];
        launch->emitError("verify-exec: launch ") << i << " does not wait for launch " << p << ", which it depends on";
        return false;
      }
    }
    return true;
  }

  // Buffers whose memory overlaps are never in use at the same time in the partial order.
  static bool memory_is_disjoint(exec::ProgramOp program) {
    const std::vector<exec::LaunchOpInterface> launches = launches_of(program);
    const std::vector<llvm::BitVector> before = order_of(launches);
    std::map<mlir::Operation*, std::vector<size_t>> users;
    for (size_t i = 0; i < launches.size(); ++i)
      for (const ObjectAccess& a : accesses_of(launches[i]))
        if (a.buffer) users[a.buffer].push_back(i);
    const auto ordered = [&](const std::vector<size_t>& x, const std::vector<size_t>& y) {
      for (size_t u : x)
        for (size_t w : y)
          if (u == w || !before[w].test(static_cast<unsigned>(u))) return false;
      return true;
    };
    std::vector<exec::BufferOp> buffers;
    for (auto buffer : program.block().getOps<exec::BufferOp>()) {
      if (!buffer.getOffset()) {
        buffer.emitError("verify-exec: a buffer without an offset");
        return false;
      }
      if (*buffer.getOffset() + buffer.getBytes() > program.getArenaBytes().value_or(0)) {
        buffer.emitError("verify-exec: a buffer beyond the arena");
        return false;
      }
      buffers.push_back(buffer);
    }
    // Sorted by offset, so that only neighbours in memory are compared.
    std::stable_sort(buffers.begin(), buffers.end(), [](exec::BufferOp a, exec::BufferOp b) { return *a.getOffset() < *b.getOffset(); });
    for (size_t i = 0; i < buffers.size(); ++i) {
      const uint64_t end = *buffers[i].getOffset() + buffers[i].getBytes();
      for (size_t j = i + 1; j < buffers.size() && *buffers[j].getOffset() < end; ++j) {
        const auto &x = users[buffers[i]], &y = users[buffers[j]];
        if (ordered(x, y) || ordered(y, x)) continue;
        buffers[j].emitError("verify-exec: overlaps in memory with buffer '") << buffers[i].getName() << "' while both are in use";
        return false;
      }
    }
    return true;
  }
};

}  // namespace
}  // namespace llmc
