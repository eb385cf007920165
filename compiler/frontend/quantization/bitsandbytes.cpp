// bitsandbytes: nf4 and fp4 in blocks along the flattened weight, with scales that may be quantized themselves, and
// int8 of LLM.int8(). Source: bitsandbytes, functional.py (QuantState, dequantize_4bit), nn/modules.py,
// backends/default/ops.py.
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "compiler/frontend/quantization/checkpoint_formats.h"
#include "compiler/frontend/quote.h"

namespace llmc {
namespace {

constexpr int64_t kMaxBlock = int64_t{1} << 31;
constexpr uint64_t kMaxStateBytes = 65536;
constexpr float kTableTolerance = 1e-6f;
constexpr float kNf4[16] = {-1.0f,        -0.6961928f, -0.52507305f, -0.39491749f, -0.28444138f, -0.18477343f,
                            -0.09105004f, 0.0f,        0.0795803f,   0.1609302f,   0.2461123f,   0.33791524f,
                            0.44070983f,  0.562617f,   0.72295684f,  1.0f};
constexpr float kFp4[16] = {0.0f,  0.0052083333f,  0.6666667f,  1.0f,  0.33333333f,  0.5f,  0.16666667f,  0.25f,
                            -0.0f, -0.0052083333f, -0.6666667f, -1.0f, -0.33333333f, -0.5f, -0.16666667f, -0.25f};

// Errors: values that are not those of the table that the kernels know.
llm::Status check_table(const ModuleTensors& module, const std::string& name, bool nf4) {
  LLM_ASSIGN(const TensorInfo tensor, module.get(name, {16}, {DType::kF32}));
  LLM_ASSIGN(const std::vector<std::byte> bytes, module.checkpoint().read(tensor));
  float values[16];
  std::memcpy(values, bytes.data(), sizeof values);
  for (int i = 0; i < 16; ++i)
    if (!(std::abs(values[i] - (nf4 ? kNf4 : kFp4)[i]) <= kTableTolerance))
      return module.error(tensor, "found value " + std::to_string(values[i]) + " at " + std::to_string(i) +
                                      ", expected the table of " + (nf4 ? "nf4" : "fp4"));
  return {};
}

struct State {
  int64_t block = 0, nested_block = 0;
  double nested_offset = 0;
};

// The JSON that bitsandbytes stores as a tensor of bytes.
llm::Result<State> read_state(const ModuleTensors& module, const TensorInfo& tensor, bool nested) {
  if (tensor.dtype != DType::kU8 || tensor.bytes() > kMaxStateBytes)
    return module.error(tensor, "expected JSON as U8, at most 64 KiB of it");
  LLM_ASSIGN(const std::vector<std::byte> bytes, module.checkpoint().read(tensor));
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  const auto json = nlohmann::json::parse(text, text + bytes.size(), nullptr, false);
  State state;
  const auto integer = [&](const char* key, int64_t& out) {
    if (!json.is_object() || !json.contains(key) || !json[key].is_number_integer()) return false;
    out = json[key].get<int64_t>();
    return out > 0 && out <= kMaxBlock;
  };
  if (!integer("blocksize", state.block)) return module.error(tensor, "found no positive 'blocksize'");
  if (json.contains("shape") && json["shape"] != nlohmann::json({module.rows(), module.cols()}))
    return module.error(tensor, "found the shape " + quote(json["shape"].dump()) + ", expected [" +
                                    std::to_string(module.rows()) + ", " + std::to_string(module.cols()) + "]");
  if (!nested) return state;
  if (!integer("nested_blocksize", state.nested_block))
    return module.error(tensor, "found no positive 'nested_blocksize'");
  if (!json.contains("nested_offset") || !json["nested_offset"].is_number())
    return module.error(tensor, "found no 'nested_offset'");
  state.nested_offset = json["nested_offset"].get<double>();
  return state;
}

llm::Result<QuantizedWeight> read_four_bits(const ModuleTensors& module) {
  QuantizedWeight w;
  const int64_t rows = module.rows(), cols = module.cols();
  const TensorInfo* nf4 = module.find("weight.quant_state.bitsandbytes__nf4");
  const TensorInfo* fp4 = module.find("weight.quant_state.bitsandbytes__fp4");
  if (!nf4 && !fp4)
    return llm::Error{"module " + quote(module.name()) +
                      ": found neither 'weight.quant_state.bitsandbytes__nf4' nor '...__fp4'"};
  w.code = nf4 ? "nf4" : "fp4";
  const TensorInfo* absmax = module.find("weight.absmax");
  const bool nested = absmax && absmax->dtype == DType::kU8;
  const TensorInfo& state_tensor = nf4 ? *nf4 : *fp4;
  LLM_ASSIGN(const State state, read_state(module, state_tensor, nested));
  LLM_TRY(check_table(module, "weight.quant_map", nf4));
  // Blocks run over the flattened weight; where rows are whole blocks, they are groups of columns.
  LLM_TRY(module.check_multiple("columns", cols, state.block));
  LLM_TRY(module.check_multiple("columns", cols, 2));
  w.group = state.block;
  const int64_t blocks = rows * (cols / state.block);
  // The high half of a byte is the even column.
  w.codes = {.tensor = {},
             .word_bytes = 1,
             .bits = 4,
             .unit_values = 2,
             .word_stride = 1,
             .line_stride = cols / 2,
             .order = 0x01};
  LLM_ASSIGN(w.codes.tensor, module.get("weight", {rows * cols / 2, 1}, {DType::kU8}));
  w.scale = DType::kF32;
  w.scales.row_stride = cols / state.block, w.scales.group_stride = 1;
  LLM_ASSIGN(w.scales.tensor, module.get("weight.absmax", {blocks}, {DType::kF32, DType::kU8}));
  if (nested) {
    LLM_ASSIGN(w.scales.map, module.get("weight.nested_quant_map", {256}, {DType::kF32}));
    LLM_ASSIGN(
        w.scales.map_scales,
        module.get("weight.nested_absmax", {(blocks + state.nested_block - 1) / state.nested_block}, {DType::kF32}));
    w.scales.map_block = state.nested_block;
    w.scales.map_offset = state.nested_offset;
  }
  w.spare.push_back(state_tensor.name);
  module.add_spare({"weight.quant_map"}, w);
  return w;
}

}  // namespace

llm::Result<QuantizedWeight> read_bitsandbytes_weight(const ModuleTensors& module, const QuantizationScheme& scheme) {
  if (scheme.bits == 4) return read_four_bits(module);
  QuantizedWeight w;
  w.code = "u8";
  LLM_ASSIGN(w.codes, module.get_int8("weight", module.cols()));
  LLM_ASSIGN(w.scales.tensor, module.get("SCB", {module.rows()}, {DType::kF32}));
  w.group = module.cols();
  w.scale = DType::kF32;
  w.scales.row_stride = 1, w.scales.divisor = 127;
  if (const TensorInfo* format = module.find("weight_format")) {
    LLM_ASSIGN(const std::vector<std::byte> bytes, module.checkpoint().read(*format));
    if (bytes.size() != 1 || bytes[0] != std::byte{0})
      return module.error(*format, "found another layout than 0, row-major, expected that");
    w.spare.push_back(format->name);
  }
  return w;
}

}  // namespace llmc
