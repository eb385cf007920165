#include "compiler/frontend/families/families.h"

#include <array>

namespace llmc {
namespace {

constexpr std::array<const FamilyInfo*, 4> kFamilies = {&kLlamaFamily, &kMistralFamily, &kQwen2Family, &kQwen3Family};

}  // namespace

std::span<const FamilyInfo* const> families() { return kFamilies; }

const FamilyInfo& family_info(Family family) {
  for (const FamilyInfo* info : kFamilies) {
    if (info->family == family) return *info;
  }
  return kLlamaFamily;  // not reached: every enumerator has a row
}

std::string family_names() {
  std::string out;
  for (const FamilyInfo* info : kFamilies) out += (out.empty() ? "" : ", ") + std::string(info->model_type);
  return out;
}

bool is_norm(WeightRole role) {
  return role == WeightRole::kInputNorm || role == WeightRole::kPostAttentionNorm || role == WeightRole::kFinalNorm ||
         role == WeightRole::kQNorm || role == WeightRole::kKNorm;
}

bool is_bias(WeightRole role) {
  switch (role) {
    case WeightRole::kQBias:
    case WeightRole::kKBias:
    case WeightRole::kVBias:
    case WeightRole::kOBias:
    case WeightRole::kGateBias:
    case WeightRole::kUpBias:
    case WeightRole::kDownBias:
      return true;
    default:
      return false;
  }
}

}  // namespace llmc
