// float8_e4m3fn weights: of compressed-tensors, AutoFP8 (a scale per tensor), and DeepSeek (128 x 128 blocks,
// multiplied by weight_scale_inv in spite of its name). Source: DeepSeek-V3, README_WEIGHTS.md; vLLM,
// quantization/fp8.py.
#include "compiler/frontend/quantization/checkpoint_formats.h"

namespace llmc {

llm::Result<QuantizedWeight> read_fp8_weight(const ModuleTensors& module, const QuantizationScheme& scheme) {
  QuantizedWeight w;
  w.code = "e4m3";
  w.codes = {
      .tensor = {}, .word_bytes = 1, .bits = 8, .unit_values = 1, .word_stride = 1, .line_stride = module.cols()};
  LLM_ASSIGN(w.codes.tensor, module.get("weight", {module.rows(), module.cols()}, {DType::kF8E4M3}));
  LLM_TRY(
      module.read_scales_by_shape(module.find("weight_scale_inv") ? "weight_scale_inv" : "weight_scale", scheme, w));
  module.add_spare({"input_scale"}, w);
  return w;
}

}  // namespace llmc
