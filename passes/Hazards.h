// Who reads and writes what in a program: the basis of scheduling, memory planning and their verification.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "dialects/exec/ExecDialect.h"
#include "llvm/ADT/BitVector.h"

namespace llmc {

// An access to a whole object: an activation buffer (by name of its SSA value), a KV layer, a state buffer, an io field, a weight.
struct ObjectAccess {
  std::string object;
  int8_t access;           // exec::Access
  exec::BufferOp buffer;   // null for other objects
};

std::vector<exec::LaunchOpInterface> launches_of(exec::ProgramOp program);

// Constants and the checkpoint are never written, weights by the program @init only: elsewhere they are left out.
std::vector<ObjectAccess> accesses_of(exec::LaunchOpInterface launch);

// The last writer and the readers since, of one object, as launches are visited in order.
struct ObjectState {
  int64_t writer = -1;
  std::vector<size_t> readers;

  // Adds the launches that `launch` must wait for to `predecessors`, and notes the access.
  void record(size_t launch, int8_t access, std::set<size_t>& predecessors);
};

// before[i]: the launches that come before launch i in the partial order given by the `after` lists.
std::vector<llvm::BitVector> order_of(const std::vector<exec::LaunchOpInterface>& launches);

}  // namespace llmc
