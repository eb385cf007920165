#include "passes/KernelTable.h"

#include <algorithm>
#include <utility>

#include "passes/Tuning.h"

namespace llmc {
namespace {

using llm::ScalarType;
using llm::Variant;
using namespace llm;  // Feature and TypeMask names of the tables

constexpr Variant kCudaVariants[] = {
#include "kernels_templates/cuda/variants.inl"
};
constexpr Variant kX86Variants[] = {
#include "kernels_templates/x86/variants.inl"
};

const char* type_name(ScalarType type) {
  switch (type) {
    case ScalarType::kF16: return "f16";
    case ScalarType::kBF16: return "bf16";
    case ScalarType::kBF16Panels: return "bf16_panels";
    case ScalarType::kInt8: return "int8_kv";
    case ScalarType::kF32: break;
  }
  return "float";
}

// Of a structure in kernels_templates/quantized_weights.h.
const char* code_name(CodeType code) {
  switch (code) {
    case CodeType::kU2: return "U2";
    case CodeType::kU4: return "U4";
    case CodeType::kU8: return "U8";
    case CodeType::kE4M3: return "E4m3";
    case CodeType::kNf4: return "Nf4";
    case CodeType::kFp4: break;
  }
  return "Fp4";
}

uint32_t bit(ScalarType type) { return 1u << static_cast<int>(type); }

bool serves_head_dim(const Variant& v, int64_t head_dim) {
  std::string_view list = v.head_dims;
  if (list.empty()) return true;
  while (true) {
    const size_t comma = list.find(',');
    if (list.substr(0, comma) == std::to_string(head_dim)) return true;
    if (comma == std::string_view::npos) return false;
    list.remove_prefix(comma + 1);
  }
}

bool serves_codes(const Variant& v, const KernelShape& s) {
  if (!v.code_types) return !s.code;
  return s.code && (v.code_types & (1u << static_cast<int>(*s.code))) && s.group % v.k_multiple == 0 &&
         (s.interleave == 0 || s.interleave == v.interleave) && (s.interleave != 8 || s.cols % 8 == 0);
}

// Kernels of x86 take activations in int8 in groups of a multiple of theirs.
bool serves_int8(TargetKind kind, const Variant& v, const KernelShape& s) {
  if (v.int8_panels != s.int8_panels) return false;
  if (kind == TargetKind::kCuda || v.int8_group == 0) return v.int8_group == s.int8_group;
  return s.int8_group > 0 && s.int8_group % v.int8_group == 0;
}

std::vector<std::string> template_arguments(const Variant& v, const KernelShape& s) {
  std::vector<std::string> args;
  if (v.code_types) args.push_back(code_name(s.code.value_or(CodeType::kU4)));
  if (v.weight_types) args.push_back(type_name(s.weight.value_or(ScalarType::kF32)));
  if (v.operand_types) args.push_back(type_name(s.operand.value_or(ScalarType::kF32)));
  if (v.kv_types) args.push_back(type_name(s.kv.value_or(ScalarType::kF32)));
  if (*v.head_dims) args.push_back(std::to_string(s.head_dim));
  if (*v.params) args.push_back(v.params);
  return args;
}

}  // namespace

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

std::span<const Variant> all_variants(TargetKind kind) {
  if (kind == TargetKind::kCuda) return kCudaVariants;
  return kX86Variants;
}

const Variant* find_variant(TargetKind kind, std::string_view family, std::string_view name) {
  for (const Variant& v : all_variants(kind))
    if (family == v.family && name == v.name) return &v;
  return nullptr;
}

bool can_run(const Target& target, const Variant& v, const KernelShape& s) {
  const auto serves = [](uint32_t mask, const std::optional<ScalarType>& type) { return !mask || (type && (mask & bit(*type))); };
  const bool rounds = (v.row_scale || v.rounds_operands) && s.operand == ScalarType::kF32;
  const bool fp8 = !v.fp8_rows || (s.fp8_rows && (v.fp8_group ? s.group == v.fp8_group : s.group >= s.k));
  return s.family == v.family && fp8 && serves_codes(v, s) && serves_int8(target.kind, v, s) && !(rounds && s.exact_operands) && (v.needs & ~target.features) == 0 && serves(v.weight_types, s.weight) &&
         serves(v.operand_types, s.operand) && serves(v.kv_types, s.kv) && serves_head_dim(v, s.head_dim) && s.rows >= v.min_rows &&
         (v.max_rows == 0 || s.rows <= v.max_rows) && (!v.external || s.weight == s.operand) && (v.k_multiple <= 1 || s.k % v.k_multiple == 0) &&
         (!v.operand_bytes || s.rows * (ceil_div(s.cols, 256) * 512 + 64) <= v.operand_bytes) && v.shared_bytes <= std::max(target.shared_bytes, 48 * 1024);
}

llm::Result<KernelChoice> choose_kernel(const Target& target, const KernelShape& shape, std::string_view forced, const Tuning* tuning) {
  // The later row among equals.
  const auto beats = [](const RatedVariant& a, const RatedVariant& b) {
    return !b.variant || (a.measured != b.measured ? a.measured : a.us <= b.us);
  };
  KernelChoice choice;
  for (const Variant& v : all_variants(target.kind)) {
    if (!can_run(target, v, shape)) continue;
    if (forced.empty() ? v.external : forced != v.name) continue;
    const std::optional<double> measured = tuning ? tuning->us(target.name, shape, v.name) : std::nullopt;
    const RatedVariant rated{&v, measured ? *measured : predict_us(target, v, shape), measured.has_value()};
    if (beats(rated, choice.best))
      choice.runner_up = std::exchange(choice.best, rated);
    else if (beats(rated, choice.runner_up))
      choice.runner_up = rated;
  }
  if (choice.best.variant) return choice;
  std::string what = "target " + std::string(target.name) + " has no " + shape.family + " kernel";
  if (!forced.empty()) what += " named '" + std::string(forced) + "'";
  what += " for";
  if (shape.code) what += std::string(" codes ") + code_name(*shape.code) + " in groups of " + std::to_string(shape.group) + ",";
  if (shape.weight) what += std::string(" weights ") + type_name(*shape.weight) + ",";
  if (shape.int8_group) what += std::string(" operands int8") + (shape.int8_panels ? " in panels," : ",");
  if (shape.operand) what += std::string(" operands ") + type_name(*shape.operand) + ",";
  if (shape.kv) what += std::string(" KV ") + type_name(*shape.kv) + ",";
  if (shape.head_dim) what += " head_dim " + std::to_string(shape.head_dim) + ",";
  return llm::Error{what + " " + std::to_string(shape.rows) + " rows"};
}

std::string instance_name(const Variant& v, const KernelShape& s) {
  const auto args = template_arguments(v, s);
  if (args.empty()) return v.body;
  std::string text = std::string(v.body) + "<";
  for (size_t i = 0; i < args.size(); ++i) text += (i ? ", " : "") + args[i];
  return text + ">";
}

std::string entry_name(const Variant& v, const KernelShape& s) {
  std::string text = std::string(v.family) + "_" + v.name;
  if (v.code_types) text += std::string("__c_") + code_name(s.code.value_or(CodeType::kU4));
  if (v.weight_types) text += std::string("__w_") + type_name(s.weight.value_or(ScalarType::kF32));
  if (v.operand_types) text += std::string("__x_") + type_name(s.operand.value_or(ScalarType::kF32));
  if (v.kv_types) text += std::string("__kv_") + type_name(s.kv.value_or(ScalarType::kF32));
  if (*v.head_dims) text += "__d" + std::to_string(s.head_dim);
  return text;
}

std::string args_struct(std::string_view family) {
  static constexpr struct {
    std::string_view family, name;
  } kStructs[] = {
      {"prepare", "PrepareArgs"},     {"embed", "EmbedArgs"},
      {"gather_rows", "GatherRowsArgs"}, {"rms_norm", "RmsNormArgs"},
      {"add_rms_norm", "AddRmsNormArgs"}, {"linear", "LinearArgs"},
      {"linear_fused", "FusedLinearArgs"}, {"linear_glu", "FusedLinearArgs"},
      {"linear_add", "FusedLinearArgs"}, {"linear_rope", "LinearRopeArgs"},
      {"glu", "GluArgs"},             {"add", "ElementwiseArgs"},
      {"mul", "ElementwiseArgs"},     {"silu", "ElementwiseArgs"},
      {"rope_table", "RopeTableArgs"}, {"rope", "RopeArgs"},
      {"kv_write", "KvWriteArgs"},    {"rope_kv_write", "RopeKvWriteArgs"},
      {"attention", "AttentionArgs"},
      {"sample", "SampleArgs"},       {"advance", "AdvanceArgs"},
      {"pack", "PackArgs"},           {"row_scale", "RowScaleArgs"},
      {"bias_add", "BiasAddArgs"},    {"persistent", "PersistentArgs"},
      {"bias_add", "BiasAddArgs"},     {"linear_quantized", "LinearQuantizedArgs"},
      {"linear_int8_glu", "LinearQuantizedArgs"},
      {"gather_columns", "GatherColumnsArgs"}, {"repack", "RepackArgs"},
      {"group_order", "GroupOrderArgs"}, {"quantize", "QuantizeArgs"}, {"dequantize", "DequantizeArgs"}, {"quantize_rows", "QuantizeRowsArgs"},
      {"fp8_rows", "Fp8RowsArgs"},
      {"quantized_fused", "QuantizedFusedArgs"}, {"quantized_glu", "QuantizedFusedArgs"},
      {"quantized_add", "QuantizedFusedArgs"}, {"quantized_rope", "QuantizedRopeArgs"},
  };
  for (const auto& [name, args] : kStructs)
    if (name == family) return std::string(args);
  return "";
}

llm_abi::PhaseBody phase_body(std::string_view family) {
  using namespace llm_abi;
  static constexpr struct {
    std::string_view family;
    PhaseBody body;
  } kBodies[] = {
      {"prepare", kPhasePrepare},         {"embed", kPhaseEmbed},          {"rope_table", kPhaseRopeTable}, {"gather_rows", kPhaseGatherRows},
      {"rms_norm", kPhaseRmsNorm},        {"rope_kv_write", kPhaseRopeKvWrite}, {"attention", kPhaseAttention}, {"linear_fused", kPhaseLinear},
      {"linear_glu", kPhaseLinearGlu},    {"linear_add", kPhaseLinearAdd}, {"linear_rope", kPhaseLinearRope},
  };
  for (const auto& [name, body] : kBodies)
    if (name == family) return body;
  return kPhaseNone;
}

}  // namespace llmc
