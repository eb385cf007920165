// The goldens of test/goldens, and how logits are compared with them.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "plan/result.h"

namespace llmrt_test {

struct Golden {
  std::string name;
  std::string dtype;  // of the weights: "float32", "float16", "bfloat16"
  std::vector<int32_t> ids;
  std::vector<float> logits;  // [ids, vocab], computed in float64
  size_t vocab = 0;
  std::map<std::string, double> own_kl;  // of transformers itself, by dtype
};

llm::Result<Golden> read_golden(const std::string& folder, const std::string& name);
// The names of all goldens of a folder, sorted.
llm::Result<std::vector<std::string>> list_goldens(const std::string& folder);

struct Comparison {
  double mean_kl = 0;  // nats: mean over rows of KL(softmax(expected) || softmax(actual))
  double max_kl = 0;
  size_t rows = 0;
  size_t near_ties = 0;   // rows whose two largest expected logits are closer than `tie`
  size_t wrong_top1 = 0;  // other rows whose largest logit is another one
};

// Both [rows, vocab]. A logit that is not finite makes the KL infinite.
Comparison compare(std::span<const float> expected, std::span<const float> actual, size_t vocab, double tie);

}  // namespace llmrt_test
