#include "compiler/frontend/quantization/quantized_modules.h"

#include "compiler/frontend/quantization/checkpoint_formats.h"
#include "compiler/frontend/quote.h"

namespace llmc {
namespace {

llm::Result<QuantizedWeight> read_weight(QuantizationMethod method, const ModuleTensors& module,
                                         const QuantizationScheme& scheme) {
  switch (method) {
    case QuantizationMethod::kGptq:
      return read_gptq_weight(module, scheme);
    case QuantizationMethod::kAwq:
      return read_awq_weight(module, scheme);
    case QuantizationMethod::kCompressedTensors:
      return read_compressed_tensors_weight(module, scheme);
    case QuantizationMethod::kFp8:
      return read_fp8_weight(module, scheme);
    case QuantizationMethod::kBitsandbytes:
      break;
  }
  return read_bitsandbytes_weight(module, scheme);
}

}  // namespace

llm::Result<std::optional<QuantizedWeight>> QuantizedModules::read(const std::string& name,
                                                                   const std::string& tensor_prefix, int64_t rows,
                                                                   int64_t cols) {
  const ModuleTensors module(checkpoint_, tensor_prefix, rows, cols);
  const TensorInfo* dense = module.find("weight");
  if (dense && (dense->dtype == DType::kF32 || dense->dtype == DType::kF16 || dense->dtype == DType::kBF16))
    return std::optional<QuantizedWeight>();
  LLM_ASSIGN(const std::optional<QuantizationScheme> scheme, config_.scheme_of(name));
  if (!scheme)
    return llm::Error{checkpoint_.files()[0].path + ": module " + quote(tensor_prefix) +
                      ": found no 'weight' of F32, F16 or BF16, expected one: " +
                      "quantization_config says that this module is not quantized"};
  LLM_ASSIGN(QuantizedWeight weight, read_weight(config_.method, module, *scheme));
  weight.rows = rows, weight.cols = cols;
  if (weight.group_of) LLM_TRY(share_order(weight));
  return std::optional<QuantizedWeight>(std::move(weight));
}

llm::Status QuantizedModules::share_order(QuantizedWeight& weight) {
  LLM_ASSIGN(std::vector<std::byte> bytes, checkpoint_.read(*weight.group_of));
  const auto [it, fresh] = orders_.emplace(std::move(bytes), *weight.group_of);
  if (fresh) return {};
  weight.spare.push_back(weight.group_of->name);
  weight.group_of = it->second;
  return {};
}

}  // namespace llmc
