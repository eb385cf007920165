#include "plan/cpu_features.h"

#include "kernels_templates/variant.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace llm {

std::string cpu_feature_names(uint32_t features) {
  static constexpr struct {
    uint32_t bit;
    const char* name;
  } kNames[] = {
      {kAvx2, "AVX2"},           {kAvx512, "AVX-512"},   {kAvx512Vnni, "VNNI"}, {kAvx512Bf16, "AVX-512 BF16"},
      {kAmxBf16, "AMX bf16"}, {kAmxInt8, "AMX int8"},
  };
  std::string text;
  for (const auto& [bit, name] : kNames)
    if (features & bit) text += (text.empty() ? "" : ", ") + std::string(name);
  return text;
}

#if defined(__x86_64__)
namespace {

// Intel SDM vol. 1, 13.1: bits of XCR0.
constexpr uint64_t kXcr0Avx = 0x6;        // SSE, AVX
constexpr uint64_t kXcr0Avx512 = 0xe6;    // + opmask, ZMM_Hi256, Hi16_ZMM
constexpr uint64_t kXcr0Amx = 0x60000;    // XTILECFG, XTILEDATA
constexpr long kArchReqXcompPerm = 0x1023;
constexpr long kXfeatureXtiledata = 18;

uint64_t read_xcr0() {
  uint32_t lo, hi;
  asm volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
  return (uint64_t{hi} << 32) | lo;
}

}  // namespace

bool request_amx_permission() { return syscall(SYS_arch_prctl, kArchReqXcompPerm, kXfeatureXtiledata) == 0; }

uint32_t cpu_features() {
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
  const bool osxsave = c & (1u << 27), fma = c & (1u << 12), f16c = c & (1u << 29), avx = c & (1u << 28);
  if (!osxsave) return 0;
  const uint64_t xcr0 = read_xcr0();
  uint32_t a7, b7, c7, d7;
  if (!__get_cpuid_count(7, 0, &a7, &b7, &c7, &d7)) return 0;
  uint32_t features = 0;
  const bool avx2 = (b7 & (1u << 5)) && (b7 & (1u << 3)) && (b7 & (1u << 8));  // AVX2, BMI1, BMI2: x86-64-v3 with FMA, F16C
  if ((xcr0 & kXcr0Avx) == kXcr0Avx && avx && fma && f16c && avx2) features |= kAvx2;
  const uint32_t v4 = (1u << 16) | (1u << 17) | (1u << 28) | (1u << 30) | (1u << 31);  // F, DQ, CD, BW, VL
  if ((features & kAvx2) && (xcr0 & kXcr0Avx512) == kXcr0Avx512 && (b7 & v4) == v4) {
    features |= kAvx512;
    if (c7 & (1u << 11)) features |= kAvx512Vnni;
    uint32_t a71, b71, c71, d71;
    if (__get_cpuid_count(7, 1, &a71, &b71, &c71, &d71) && (a71 & (1u << 5))) features |= kAvx512Bf16;
    if ((d7 & (1u << 24)) && (xcr0 & kXcr0Amx) == kXcr0Amx && request_amx_permission()) {
      if (d7 & (1u << 22)) features |= kAmxBf16;
      if (d7 & (1u << 25)) features |= kAmxInt8;
    }
  }
  return features;
}

#else

uint32_t cpu_features() { return 0; }
bool request_amx_permission() { return false; }

#endif

}  // namespace llm
