#include "compiler/frontend/quantization/quantize_scheme.h"

#include "compiler/frontend/quote.h"

namespace llmc {

bool QuantizeScheme::covers(WeightRole role, bool tied_head) const {
  if (is_norm(role) || is_bias(role)) return false;
  if (role == WeightRole::kLmHead || role == WeightRole::kEmbedTokens)
    return head && role == (tied_head ? WeightRole::kEmbedTokens : WeightRole::kLmHead);
  return true;
}

llm::Result<QuantizeScheme> parse_quantize_scheme(std::string_view text) {
  if (text == "w4g128") return QuantizeScheme{.code = "u4", .group = 128, .zeros = true};
  if (text == "w4g32") return QuantizeScheme{.code = "u4", .group = 32, .zeros = true};
  if (text == "w8") return QuantizeScheme{.code = "u8"};
  if (text == "fp8") return QuantizeScheme{.code = "e4m3"};
  return llm::Error{"--quantize '" + std::string(text) + "' is not one of w4g128, w4g32, w8, fp8"};
}

llm::Result<std::vector<std::string>> check_quantize(const QuantizeScheme& scheme, const ModelWeights& weights,
                                                     bool tied_head) {
  int64_t partial = 0;
  const Weight* first = nullptr;
  for (const Weight& w : weights.all()) {
    if (w.quantized)
      return llm::Error{"--quantize: tensor " + quote(w.tensor.name) +
                        " is quantized already; leave the option out, or compile the model that this one was made from"};
    if (!scheme.covers(w.role, tied_head) || w.tensor.shape[1] % scheme.group_of(w.tensor.shape[1]) == 0) continue;
    if (!first) first = &w;
    ++partial;
  }
  std::vector<std::string> warnings;
  if (first) {
    std::string text = "--quantize: tensor " + quote(first->tensor.name);
    if (partial > 1) text += " and " + std::to_string(partial - 1) + " more";
    warnings.push_back(text + ": " + std::to_string(first->tensor.shape[1]) + " columns, the last group of " +
                       std::to_string(scheme.group) + " is shorter");
  }
  return warnings;
}

}  // namespace llmc
