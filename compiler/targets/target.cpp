#include "compiler/targets/target.h"

#include <charconv>

#include "plan/cpu_features.h"

namespace llmc {
namespace {

using llm::ScalarType;

constexpr uint32_t kVolta = llm::kTensorF16 | llm::kFastF16Math | llm::kDp4a;
constexpr uint32_t kTuring = kVolta | llm::kTensorInt8 | llm::kLdMatrix;
constexpr uint32_t kAmpere = kTuring | llm::kTensorBF16 | llm::kCpAsync;
constexpr uint32_t kAda = kAmpere | llm::kFp8;
constexpr uint32_t kHopper = kAda | llm::kTma | llm::kWgmma | llm::kPdl;
constexpr uint32_t kV4 = llm::kAvx2 | llm::kAvx512;
constexpr uint32_t kV4Bf16 = kV4 | llm::kAvx512Vnni | llm::kAvx512Bf16;
constexpr uint32_t kAmx = kV4Bf16 | llm::kAmxBf16 | llm::kAmxInt8;

constexpr int kKiB = 1024;
constexpr ScalarType kF32 = ScalarType::kF32, kF16 = ScalarType::kF16, kBF16 = ScalarType::kBF16;

// Rates: NVIDIA data sheets and white papers of the named card (dense, without sparsity). Shared memory: CUDA C++ programming
// guide, table "technical specifications per compute capability".
const std::vector<Target> kTargets = {
    // clang-format off
    // name, kind, arch, cc, features, shared, l2 KiB, units, GB/s, fp32, matrix, launch us, f16 op, bf16 op, flags, typical, persistent tokens, int8 group
    {"sm_60", TargetKind::kCuda, "sm_60", 60, llm::kFastF16Math, 48 * kKiB, 4096, 56, 732, 9.3, 0, 2.5, kF32, kF32, "", "Tesla P100"},
    {"sm_61", TargetKind::kCuda, "sm_61", 61, llm::kDp4a, 48 * kKiB, 2816, 28, 484, 11.3, 0, 2.5, kF32, kF32, "", "GTX 1080 Ti", 0, 0, 32},
    {"sm_70", TargetKind::kCuda, "sm_70", 70, kVolta, 96 * kKiB, 6144, 80, 900, 15.7, 125, 2.0, kF16, kF32, "", "Tesla V100"},
    {"sm_75", TargetKind::kCuda, "sm_75", 75, kTuring, 64 * kKiB, 4096, 40, 320, 8.1, 65, 2.0, kF16, kF32, "", "Tesla T4"},
    {"sm_80", TargetKind::kCuda, "sm_80", 80, kAmpere, 163 * kKiB, 40960, 108, 1555, 19.5, 312, 1.5, kF16, kBF16, "", "A100"},
    {"sm_86", TargetKind::kCuda, "sm_86", 86, kAmpere, 99 * kKiB, 6144, 82, 936, 35.6, 71, 1.5, kF16, kBF16, "", "RTX 3090"},
    {"sm_89", TargetKind::kCuda, "sm_89", 89, kAda, 99 * kKiB, 73728, 128, 1008, 82.6, 165, 1.4, kF16, kBF16, "", "RTX 4090"},
    {"sm_90", TargetKind::kCuda, "sm_90a", 90, kHopper, 227 * kKiB, 51200, 132, 4300, 67, 790, 1.3, kF16, kBF16, "", "H200", 1, 16},
    {"sm_100", TargetKind::kCuda, "sm_100", 100, kAda, 227 * kKiB, 129024, 148, 8000, 75, 2250, 1.3, kF16, kBF16, "", "B200"},
    {"sm_120", TargetKind::kCuda, "sm_120", 120, kAda, 99 * kKiB, 98304, 170, 1792, 105, 210, 1.3, kF16, kBF16, "", "RTX 5090"},
    {"x86-64-v3", TargetKind::kX86, "x86-64-v3", 0, llm::kAvx2, 0, 8192, 2, 30, 0.2, 0, 2, kF32, kF32, "", "AVX2 desktop", 0, 0, 128},
    {"x86-64-v4", TargetKind::kX86, "x86-64-v4", 0, kV4, 0, 32768, 2, 30, 0.35, 0, 2, kF32, kF32, "", "Skylake-SP", 0, 0, 128},
    {"x86-64-v4-bf16", TargetKind::kX86, "x86-64-v4", 0, kV4Bf16, 0, 32768, 2, 32, 0.35, 0.7, 2, kF32, kF32, "-mavx512bf16,-mavx512vnni", "Zen 4", 0, 0, 128},
    {"x86-64-amx", TargetKind::kX86, "x86-64-v4", 0, kAmx, 0, 65536, 2, 30, 0.35, 5, 2, kF32, kBF16, "-mavx512bf16,-mavx512vnni,-mamx-tile,-mamx-bf16,-mamx-int8", "Sapphire Rapids", 0, 0, 128},
    // clang-format on
};

const Target* exact(std::string_view name) {
  for (const Target& t : kTargets)
    if (name == t.name) return &t;
  return nullptr;
}

const Target* best_for_this_cpu() {
  const uint32_t have = llm::cpu_features();
  const Target* best = nullptr;
  for (const Target& t : kTargets)
    if (t.kind == TargetKind::kX86 && (t.features & have) == t.features) best = &t;
  return best;
}

// The newest CUDA row that is older than `cc`.
const Target* nearest_older(int cc) {
  const Target* best = nullptr;
  for (const Target& t : kTargets)
    if (t.kind == TargetKind::kCuda && t.cc < cc && (!best || t.cc > best->cc)) best = &t;
  return best;
}

std::string known_names() {
  std::string names;
  for (const Target& t : kTargets) names += std::string(names.empty() ? "" : ", ") + t.name;
  return names + ", native";
}

}  // namespace

const std::vector<Target>& all_targets() { return kTargets; }

llm::Result<const Target*> find_target(std::string_view name, std::string* warning) {
  if (const Target* t = exact(name)) return t;
  if (name == "sm_90a") return exact("sm_90");
  if (name == "native") {
    if (const Target* t = best_for_this_cpu()) return t;
    return llm::Error{"target 'native': this processor does not reach x86-64-v3 (AVX2, FMA, F16C, BMI), the oldest x86 target"};
  }
  int cc = 0;
  if (name.starts_with("sm_")) {
    auto [end, ec] = std::from_chars(name.data() + 3, name.data() + name.size(), cc);
    if (ec != std::errc() || end != name.data() + name.size()) cc = 0;
  }
  if (cc > 0) {
    if (const Target* t = nearest_older(cc)) {
      if (warning) *warning = "target '" + std::string(name) + "' has no row of its own; using " + t->name + ", the nearest older one";
      return t;
    }
  }
  return llm::Error{"unknown target '" + std::string(name) + "'; known targets: " + known_names()};
}

llm::Result<std::vector<const Target*>> parse_target_list(std::string_view list, std::string* warning) {
  std::vector<const Target*> targets;
  while (true) {
    const size_t comma = list.find(',');
    LLM_ASSIGN(const Target* target, find_target(list.substr(0, comma), warning));
    for (const Target* other : targets)
      if (other == target) return llm::Error{"target '" + std::string(target->name) + "' is listed twice"};
    targets.push_back(target);
    if (comma == std::string_view::npos) return targets;
    list.remove_prefix(comma + 1);
  }
}

std::string feature_names(uint32_t features) {
  static constexpr struct {
    uint32_t bit;
    const char* name;
  } kNames[] = {
      {llm::kDp4a, "dp4a"},           {llm::kFastF16Math, "fp16 pairs"},   {llm::kTensorF16, "tensor f16"},
      {llm::kTensorBF16, "tensor bf16"}, {llm::kTensorInt8, "tensor int8"},   {llm::kLdMatrix, "ldmatrix"},
      {llm::kCpAsync, "cp.async"},    {llm::kFp8, "fp8"},                  {llm::kTma, "TMA"},
      {llm::kWgmma, "wgmma"},         {llm::kPdl, "PDL"},                  {llm::kAvx2, "AVX2"},
      {llm::kAvx512, "AVX-512"},      {llm::kAvx512Vnni, "VNNI"},          {llm::kAvx512Bf16, "AVX-512 BF16"},
      {llm::kAmxBf16, "AMX bf16"},    {llm::kAmxInt8, "AMX int8"},
  };
  std::string text;
  for (const auto& [bit, name] : kNames)
    if (features & bit) text += std::string(text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace llmc
