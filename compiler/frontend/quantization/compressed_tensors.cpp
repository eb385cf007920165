// compressed-tensors. Source: compressors/quantized_compressors/pack_quantized.py and naive_quantized.py,
// quantization/lifecycle/forward.py.
#include <cstring>

#include "compiler/frontend/quantization/checkpoint_formats.h"
#include "compiler/frontend/quote.h"

namespace llmc {
namespace {

constexpr int64_t kWordBits = 32;

// Values are stored plus 2^(bits - 1), along the columns; a word holds whole values, so that 3 bits leave two bits
// unused.
llm::Result<QuantizedWeight> read_packed(const ModuleTensors& module, const QuantizationScheme& scheme) {
  QuantizedWeight w;
  const int64_t rows = module.rows(), cols = module.cols(), per_word = kWordBits / scheme.bits;
  const auto words = [&](int64_t n) { return (n + per_word - 1) / per_word; };
  w.code = "u" + std::to_string(scheme.bits);
  w.codes = {.tensor = {}, .bits = scheme.bits, .unit_values = per_word, .word_stride = 1, .line_stride = words(cols)};
  LLM_ASSIGN(w.codes.tensor, module.get("weight_packed", {rows, words(cols)}, {DType::kI32}));
  LLM_TRY(module.read_scales_by_shape("weight_scale", scheme, w));
  if (!scheme.symmetric) {
    const int64_t groups = (cols + w.group - 1) / w.group;
    if (w.scales.row_block != 1)
      return module.error(w.scales.tensor, "found one scale for all rows, expected one for each with zero points");
    PackedTensor zeros{.tensor = {},
                       .bits = scheme.bits,
                       .unit_values = per_word,
                       .word_stride = groups,
                       .line_stride = 1,
                       .by_column = true};
    LLM_ASSIGN(zeros.tensor, module.get("weight_zero_point", {words(rows), groups}, {DType::kI32}));
    w.zeros = zeros;
  }
  if (module.find("weight_g_idx")) LLM_TRY(module.read_group_of("weight_g_idx", w));
  module.add_spare({"weight_shape"}, w);
  return w;
}

}  // namespace

llm::Result<QuantizedWeight> read_compressed_tensors_weight(const ModuleTensors& module,
                                                            const QuantizationScheme& scheme) {
  if (scheme.format == PackingFormat::kPacked) return read_packed(module, scheme);
  if (scheme.format == PackingFormat::kFloat) return read_fp8_weight(module, scheme);
  QuantizedWeight w;
  w.code = "u8";
  LLM_ASSIGN(w.codes, module.get_int8("weight", module.cols()));
  LLM_TRY(module.read_scales_by_shape("weight_scale", scheme, w));
  if (!scheme.symmetric) {
    const int64_t groups = (module.cols() + w.group - 1) / w.group;
    LLM_ASSIGN(w.zeros, module.get_int8("weight_zero_point", groups));
  }
  module.add_spare({"input_scale", "input_zero_point"}, w);
  return w;
}

}  // namespace llmc
