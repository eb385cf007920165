// GPTQ: codes packed along K, zero points along N. Source: AutoGPTQ, qlinear_cuda_old.py (pack, forward); GPTQModel,
// utils/model.py (the two conventions of zero points).
#include <algorithm>
#include <cstring>

#include "compiler/frontend/quantization/checkpoint_formats.h"

namespace llmc {
namespace {

constexpr int64_t kWordBits = 32;
constexpr uint64_t kSampleBytes = 4096;

// The one value that all sampled zero points have, as stored, or nothing.
llm::Result<std::optional<uint32_t>> only_zero(const Checkpoint& checkpoint, const PackedTensor& zeros) {
  const uint64_t bytes = zeros.tensor.bytes();
  const uint64_t unit = static_cast<uint64_t>(zeros.unit_words) * 4,
                 length = std::min(bytes, kSampleBytes / unit * unit);
  std::optional<uint32_t> value;
  for (const uint64_t offset : {uint64_t{0}, (bytes - length) / 2 / unit * unit, (bytes - length) / unit * unit}) {
    LLM_ASSIGN(const std::vector<std::byte> sample, checkpoint.read_range(zeros.tensor, offset, length));
    for (int64_t i = 0; i < static_cast<int64_t>(length) / static_cast<int64_t>(unit) * zeros.unit_values; ++i) {
      const int64_t bit = i / zeros.unit_values * zeros.unit_words * kWordBits + i % zeros.unit_values * zeros.bits;
      uint32_t found = 0;
      for (int64_t b = 0; b < zeros.bits; ++b)
        found |= (std::to_integer<uint32_t>(sample[static_cast<size_t>((bit + b) / 8)]) >> ((bit + b) % 8) & 1u) << b;
      if (value && *value != found) return std::optional<uint32_t>();
      value = found;
    }
  }
  return value;
}

// Whether zero points are stored minus one decides itself by their value where they are the same everywhere: writers
// have put zero points of one convention under the name of the other.
llm::Status read_zeros(const ModuleTensors& module, const QuantizationScheme& scheme, PackedTensor zeros,
                       QuantizedWeight& weight) {
  LLM_ASSIGN(const std::optional<uint32_t> value, only_zero(module.checkpoint(), zeros));
  const uint32_t middle = 1u << (scheme.bits - 1);
  const bool named_v2 = scheme.format == PackingFormat::kGptqV2, is_v1 = value == middle - 1, is_v2 = value == middle;
  bool v2 = named_v2;
  if (is_v1 || is_v2) {
    v2 = is_v2;
    if (v2 != named_v2)
      weight.warnings.push_back("tensor '" + zeros.tensor.name + "': zero points are those of " +
                                (v2 ? "gptq_v2" : "gptq") +
                                ", unlike 'checkpoint_format'; they were read as what they are");
  } else if (scheme.symmetric) {
    return module.error(zeros.tensor, "found other zero points than " + std::to_string(middle - 1) + " or " +
                                          std::to_string(middle) + " everywhere, expected these with 'sym': true");
  }
  if (scheme.symmetric) {
    weight.spare.push_back(zeros.tensor.name);
    return {};
  }
  zeros.add = v2 ? 0 : 1;
  weight.zeros = zeros;
  return {};
}

}  // namespace

llm::Result<QuantizedWeight> read_gptq_weight(const ModuleTensors& module, const QuantizationScheme& scheme) {
  QuantizedWeight w;
  const int64_t rows = module.rows(), cols = module.cols(), bits = scheme.bits;
  w.code = "u" + std::to_string(bits);
  w.group = module.group_or_row(scheme.group);
  const int64_t groups = (cols + w.group - 1) / w.group;
  // 3 bits: 32 values in 3 words, one stream of bits.
  const int64_t unit_values = bits == 3 ? kWordBits : kWordBits / bits, unit_words = bits == 3 ? 3 : 1;
  LLM_TRY(module.check_multiple("columns", cols, unit_values));
  LLM_TRY(module.check_multiple("rows", rows, unit_values));
  w.codes = {.tensor = {},
             .bits = bits,
             .unit_values = unit_values,
             .unit_words = unit_words,
             .word_stride = rows,
             .line_stride = 1};
  LLM_ASSIGN(w.codes.tensor, module.get("qweight", {cols * bits / kWordBits, rows}, {DType::kI32}));
  LLM_ASSIGN(w.scales.tensor, module.get_scales("scales", {groups, rows}));
  w.scale = w.scales.tensor.dtype;
  w.scales.row_stride = 1, w.scales.group_stride = rows;
  const int64_t zero_words = rows * bits / kWordBits;
  PackedTensor zeros{.tensor = {},
                     .bits = bits,
                     .unit_values = unit_values,
                     .unit_words = unit_words,
                     .word_stride = 1,
                     .line_stride = zero_words,
                     .by_column = true};
  LLM_ASSIGN(zeros.tensor, module.get("qzeros", {groups, zero_words}, {DType::kI32}));
  LLM_TRY(read_zeros(module, scheme, zeros, w));
  if (scheme.ordered || module.find("g_idx")) LLM_TRY(module.read_group_of("g_idx", w));
  return w;
}

}  // namespace llmc
