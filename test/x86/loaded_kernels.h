// Compiled x86 kernels in this process, in the place of the emulator's: the fake driver of test/gpu/emulator finds and
// runs them.
#pragma once

#include <string>
#include <vector>

#include "compiler/codegen/kernel_compiler.h"
#include "plan/result.h"
#include "test/gpu/kernel_instances.h"

namespace llm_test {

const std::vector<llm::Variant>& x86_variants();

using X86Kernel = void (*)(const void* args, uint32_t x, uint32_t y, uint32_t z);  // LLM_KERNEL in x86/types.h

// One of the loaded kernels, by its entry name.
X86Kernel x86_kernel(const std::string& entry);

// Compiles the instances for the target and loads them.
llm::Status load_x86_kernels(const llmc::Target& target, const std::vector<KernelInstance>& instances,
                             const llmc::CodegenOptions& options);

}  // namespace llm_test
