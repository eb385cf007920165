// What the processor *and* the operating system support, as llm::Feature bits. A feature whose register state the system does
// not save (XGETBV) or does not grant (AMX tile permission on Linux) is not reported.
#pragma once

#include <cstdint>
#include <string>

namespace llm {

uint32_t cpu_features();

// "AVX-512, AMX bf16": the x86 features among these bits.
std::string cpu_feature_names(uint32_t features);

// Asks Linux for permission to use AMX tiles in this process (arch_prctl ARCH_REQ_XCOMP_PERM). True if granted.
bool request_amx_permission();

}  // namespace llm
