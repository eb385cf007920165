#include "test/gpu/kernel_instances.h"

#include <sstream>

namespace llm_test {
namespace {

using namespace llm;  // Feature and TypeMask names of the table

std::vector<ScalarType> types_of(uint32_t mask) {
  std::vector<ScalarType> types;
  for (ScalarType type : {ScalarType::kF32, ScalarType::kF16, ScalarType::kBF16, ScalarType::kBF16Panels, ScalarType::kInt8}) {
    if (mask & (1u << static_cast<int>(type))) types.push_back(type);
  }
  if (types.empty()) types.push_back(ScalarType::kF32);
  return types;
}

std::vector<CodeType> codes_of(uint32_t mask) {
  std::vector<CodeType> codes;
  for (CodeType code : {CodeType::kU2, CodeType::kU4, CodeType::kU8, CodeType::kE4M3, CodeType::kNf4, CodeType::kFp4}) {
    if (mask & (1u << static_cast<int>(code))) codes.push_back(code);
  }
  if (codes.empty()) codes.push_back(CodeType::kU4);
  return codes;
}

std::vector<int> head_dims_of(const Variant& variant) {
  std::vector<int> dims;
  std::istringstream list(variant.head_dims);
  for (std::string item; std::getline(list, item, ',');) dims.push_back(std::stoi(item));
  if (dims.empty()) dims.push_back(0);
  return dims;
}

// "add_rms_norm" -> "AddRmsNormArgs"
std::string args_name(const std::string& family) {
  if (family == "linear_rope") return "LinearRopeArgs";
  if (family == "linear_int8_glu") return "LinearQuantizedArgs";
  if (family == "quantized_rope") return "QuantizedRopeArgs";
  if (family == "quantized_fused" || family == "quantized_glu" || family == "quantized_add") return "QuantizedFusedArgs";
  if (family == "linear_fused" || family == "linear_glu" || family == "linear_add") return "FusedLinearArgs";
  if (family == "add" || family == "mul" || family == "silu") return "ElementwiseArgs";
  std::string name;
  bool upper = true;
  for (char c : family) {
    if (c == '_') {
      upper = true;
    } else {
      name += upper ? static_cast<char>(c - 'a' + 'A') : c;
      upper = false;
    }
  }
  return name + "Args";
}

}  // namespace

const char* type_name(ScalarType type) {
  switch (type) {
    case ScalarType::kF16:
      return "f16";
    case ScalarType::kBF16:
      return "bf16";
    case ScalarType::kBF16Panels:
      return "bf16_panels";
    case ScalarType::kInt8:
      return "int8_kv";
    case ScalarType::kF32:
      break;
  }
  return "float";
}

const char* code_name(CodeType code) {
  static constexpr const char* kNames[] = {"U2", "U4", "U8", "E4m3", "Nf4", "Fp4"};
  return kNames[static_cast<int>(code)];
}

const std::vector<Variant>& cuda_variants() {
  static const std::vector<Variant> kVariants = {
#include "kernels_templates/cuda/variants.inl"
  };
  return kVariants;
}

std::vector<KernelInstance> all_instances(const std::vector<Variant>& variants) {
  std::vector<KernelInstance> instances;
  for (const Variant& variant : variants) {
    if (variant.external) continue;  // no code of ours
    for (ScalarType weight : types_of(variant.weight_types)) {
      for (ScalarType operand : types_of(variant.operand_types)) {
        for (ScalarType kv : types_of(variant.kv_types)) {
          for (int head_dim : head_dims_of(variant)) {
            for (CodeType code : codes_of(variant.code_types)) {
              instances.push_back({&variant, weight, operand, kv, head_dim, code});
            }
          }
        }
      }
    }
  }
  return instances;
}

std::string KernelInstance::entry() const {
  std::string name = std::string(variant->family) + "_" + variant->name;
  if (variant->code_types) name += std::string("__c_") + code_name(code);
  if (variant->weight_types) name += std::string("__w_") + type_name(weight);
  if (variant->operand_types) name += std::string("__x_") + type_name(operand);
  if (variant->kv_types) name += std::string("__kv_") + type_name(kv);
  if (head_dim) name += "__d" + std::to_string(head_dim);
  return name;
}

std::string KernelInstance::instantiation() const {
  std::string list;
  const auto append = [&list](const std::string& item) { list += (list.empty() ? "" : ", ") + item; };
  if (variant->code_types) append(code_name(code));
  if (variant->weight_types) append(type_name(weight));
  if (variant->operand_types) append(type_name(operand));
  if (variant->kv_types) append(type_name(kv));
  if (head_dim) append(std::to_string(head_dim));
  if (*variant->params) append(variant->params);
  return list.empty() ? variant->body : std::string(variant->body) + "<" + list + ">";
}

std::string KernelInstance::source() const {
  const std::string macro = variant->cluster > 1     ? "_CLUSTER(" + std::to_string(variant->cluster) + ", "
                            : variant->waits_itself ? "_EARLY("
                                                    : "(";
  return "#include \"" + std::string(variant->file) + "\"\nLLM_KERNEL" + macro + entry() + ", " +
         std::to_string(variant->threads) + ", " + std::to_string(variant->min_blocks) + ", " + args_name(variant->family) + ", " +
         instantiation() + ")\n";
}

const std::vector<TestArch>& test_archs() {
  constexpr uint32_t kVolta = kTensorF16;
  constexpr uint32_t kTuring = kVolta | kLdMatrix | kTensorInt8;
  constexpr uint32_t kAmpere = kTuring | kTensorBF16 | kCpAsync;
  static const std::vector<TestArch> kArchs = {
      {"sm_60", kNoFeature}, {"sm_61", kDp4a},    {"sm_70", kVolta},  {"sm_75", kTuring},
      {"sm_80", kAmpere},    {"sm_86", kAmpere},  {"sm_89", kAmpere | kFp8}, {"sm_90a", kAmpere | kTma | kWgmma | kPdl | kFp8},
      {"sm_100", kAmpere},   {"sm_120", kAmpere},
  };
  return kArchs;
}

}  // namespace llm_test
