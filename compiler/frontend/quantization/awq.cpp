// AWQ. Source: AutoAWQ, utils/packing_utils.py, modules/linear/gemm.py and gemv.py.
#include "compiler/frontend/quantization/checkpoint_formats.h"

namespace llmc {
namespace {

constexpr int64_t kBits = 4, kPerWord = 8;
// 'gemm' packs eight rows into a word in the order 0, 2, 4, 6, 1, 3, 5, 7: nibble i is where row i of them went.
constexpr int64_t kGemmOrder = 0x73625140;

}  // namespace

llm::Result<QuantizedWeight> read_awq_weight(const ModuleTensors& module, const QuantizationScheme& scheme) {
  QuantizedWeight w;
  const int64_t rows = module.rows(), cols = module.cols();
  w.code = "u4";
  w.group = module.group_or_row(scheme.group);
  LLM_TRY(module.check_multiple("columns", cols, w.group));
  const int64_t groups = cols / w.group;
  PackedTensor zeros{.tensor = {}, .bits = kBits, .unit_values = kPerWord, .word_stride = 1};
  w.codes = zeros;
  if (scheme.format == PackingFormat::kAwqGemm) {
    LLM_TRY(module.check_multiple("rows", rows, kPerWord));
    w.codes.line_stride = zeros.line_stride = rows / kPerWord;
    w.codes.order = zeros.order = kGemmOrder;
    w.codes.by_column = zeros.by_column = true;
    LLM_ASSIGN(w.codes.tensor, module.get("qweight", {cols, rows / kPerWord}, {DType::kI32}));
    LLM_ASSIGN(zeros.tensor, module.get("qzeros", {groups, rows / kPerWord}, {DType::kI32}));
    LLM_ASSIGN(w.scales.tensor, module.get_scales("scales", {groups, rows}));
    w.scales.row_stride = 1, w.scales.group_stride = rows;
  } else {
    LLM_TRY(module.check_multiple("columns", cols, kPerWord));
    // Words of zero points are padded to what the kernel reads at once: calculate_zeros_width of gemv.py.
    const int64_t multiple = w.group >= 128 ? 1 : w.group == 64 ? 2 : 4;
    const int64_t words = ((groups + kPerWord - 1) / kPerWord + multiple - 1) / multiple * multiple;
    w.codes.line_stride = cols / kPerWord, zeros.line_stride = words;
    LLM_ASSIGN(w.codes.tensor, module.get("qweight", {rows, cols / kPerWord}, {DType::kI32}));
    LLM_ASSIGN(zeros.tensor, module.get("qzeros", {rows, words}, {DType::kI32}));
    LLM_ASSIGN(w.scales.tensor, module.get_scales("scales", {rows, words * kPerWord}));
    w.scales.row_stride = words * kPerWord, w.scales.group_stride = 1;
  }
  w.zeros = zeros;
  w.scale = w.scales.tensor.dtype;
  return w;
}

}  // namespace llmc
