// schedule: see Passes.td.
#include "llvm/ADT/BitVector.h"
#include "passes/Hazards.h"
#include "passes/Passes.h"

namespace llmc {
#define GEN_PASS_DEF_SCHEDULE
#include "passes/Passes.h.inc"

namespace {

struct Schedule : impl::ScheduleBase<Schedule> {
  void runOnOperation() override {
    for (auto program : getOperation().getOps<exec::ProgramOp>()) schedule(program);
  }

  static void schedule(exec::ProgramOp program) {
    const std::vector<exec::LaunchOpInterface> launches = launches_of(program);
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
    }
  }
};

}  // namespace
}  // namespace llmc
