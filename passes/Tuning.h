// Measured times of kernel variants: they overrule the cost model for exactly the shapes that were measured. docs/tuning-format.md is the
// prose of the text form.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "passes/KernelTable.h"
#include "plan/result.h"

namespace llmc {

struct Measurement {
  std::string target, variant;
  KernelShape shape;
  double us = 0;
};

// What a measurement counts for: "sm_90 linear_add bf16 bf16 - 0 8 4096 14336 1", the first columns of its line.
std::string shape_key(std::string_view target, const KernelShape& shape);

// A measurement's line up to its time.
std::string columns_of(const Measurement& measurement);

class Tuning {
 public:
  // `file` names the text in messages. Variants that this compiler does not have are left out, with a warning each.
  static llm::Result<Tuning> parse(std::string_view text, const std::string& file, std::vector<std::string>& warnings);

  // Replaces an earlier time of the same variant for the same shape.
  void add(Measurement measurement);
  bool empty() const { return measurements_.empty(); }
  std::string text(std::string_view target = "") const;  // of one target, or of all
  static std::string first_line();

  std::optional<double> us(std::string_view target, const KernelShape& shape, std::string_view variant) const;
  // By shape, in the order of their lines.
  std::vector<std::vector<Measurement>> by_shape() const;

 private:
  std::vector<Measurement> measurements_;
  std::map<std::string, size_t> index_;  // key and variant -> measurement
};

}  // namespace llmc
