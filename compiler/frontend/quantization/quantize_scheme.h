// How weights of a dense checkpoint are quantized here: `llmc compile --quantize`. docs/quantization.md says what the
// program init does, and how good it is.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "compiler/frontend/weights.h"
#include "plan/result.h"

namespace llmc {

struct QuantizeScheme {
  std::string code;   // of !llm.quantized: "u4"
  int64_t group = 0;  // columns that share a scale; 0: all of a row
  bool zeros = false;
  bool head = false;  // the head, too: with a tied head, the embedding stays dense

  bool covers(WeightRole role, bool tied_head) const;
  // Of a weight with that many columns.
  int64_t group_of(int64_t cols) const { return group > 0 && group < cols ? group : cols; }
};

// "w4g128", "w4g32", "w8", "fp8".
llm::Result<QuantizeScheme> parse_quantize_scheme(std::string_view text);

// Refuses a checkpoint that is quantized already. Gives warnings that name modules whose last groups are shorter.
llm::Result<std::vector<std::string>> check_quantize(const QuantizeScheme& scheme, const ModelWeights& weights,
                                                     bool tied_head);

}  // namespace llmc
