// plan-memory: see Passes.td.
#include "passes/Hazards.h"
#include "passes/Passes.h"

namespace llmc {
#define GEN_PASS_DEF_PLANMEMORY
#include "passes/Passes.h.inc"

namespace {

constexpr int64_t kAlignment = 256;  // bytes; vector loads and TMA need at most 128

int64_t align_up(int64_t n) { return (n + kAlignment - 1) / kAlignment * kAlignment; }

struct Placed {
  exec::BufferOp buffer;
  std::vector<size_t> users;  // launches that access it
  int64_t offset = -1;
};

struct PlanMemory : impl::PlanMemoryBase<PlanMemory> {
  void runOnOperation() override {
    for (auto program : getOperation().getOps<exec::ProgramOp>()) plan(program);
  }

  static void plan(exec::ProgramOp program) {
    const std::vector<exec::LaunchOpInterface> launches = launches_of(program);
    const std::vector<llvm::BitVector> before = order_of(launches);
    std::vector<Placed> buffers;
    std::map<mlir::Operation*, size_t> index;
    for (auto buffer : program.block().getOps<exec::BufferOp>()) {
      index[buffer] = buffers.size();
      buffers.push_back({.buffer = buffer, .users = {}, .offset = -1});
    }
    for (size_t i = 0; i < launches.size(); ++i)
      for (const ObjectAccess& a : accesses_of(launches[i]))
        if (a.buffer) buffers[index[a.buffer]].users.push_back(i);

    // Every access to x comes before every access to y.
    const auto precedes = [&](const Placed& x, const Placed& y) {
      for (size_t u : x.users)
        for (size_t w : y.users)
          if (u == w || !before[w].test(static_cast<unsigned>(u))) return false;
      return true;
    };
    std::vector<size_t> order(buffers.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return buffers[a].buffer.getBytes() > buffers[b].buffer.getBytes(); });
    int64_t arena = 0;
    for (size_t o = 0; o < order.size(); ++o) {
      Placed& current = buffers[order[o]];
      const int64_t bytes = align_up(static_cast<int64_t>(current.buffer.getBytes()));
      std::vector<std::pair<int64_t, int64_t>> taken;  // [begin, end) of buffers that may be alive at the same time
      for (size_t p = 0; p < o; ++p) {
        Placed& other = buffers[order[p]];
        if (precedes(other, current) || precedes(current, other)) continue;
        taken.push_back({other.offset, other.offset + align_up(static_cast<int64_t>(other.buffer.getBytes()))});
      }
      std::sort(taken.begin(), taken.end());
      int64_t offset = 0;
      for (const auto& [begin, end] : taken) {
        if (offset + bytes <= begin) break;
        offset = std::max(offset, end);
      }
      current.offset = offset;
      arena = std::max(arena, offset + bytes);
    }
    mlir::Builder b(program.getContext());
    for (Placed& p : buffers) p.buffer.setOffsetAttr(b.getI64IntegerAttr(p.offset));
    program.setArenaBytesAttr(b.getI64IntegerAttr(arena));
  }
};

}  // namespace
}  // namespace llmc
