// clang and lld as libraries: kernel text to an object, and objects to one freestanding shared object without outside symbols.
#pragma once

#include <string>
#include <vector>

#include "plan/result.h"

namespace llmc {

struct X86CompileRequest {
  std::string kernel;         // for messages
  std::string instantiation;  // for messages
  std::string text;           // the source
  std::string arch;           // clang's -march
  std::vector<std::string> flags;
};

// The ELF object. May be called from several threads at once.
llm::Result<std::string> compile_x86(const X86CompileRequest& request);

// The shared object. Calls from several threads are serialized (lld keeps global state).
llm::Result<std::string> link_x86(const std::vector<std::string>& objects);

}  // namespace llmc
