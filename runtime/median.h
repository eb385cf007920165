// The median of measured times.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

namespace llmrt {

// Of an even number of samples the upper one of the two in the middle; of none 0.
inline double median(std::vector<double> samples) {
  if (samples.empty()) return 0;
  const auto middle = samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 2);
  std::nth_element(samples.begin(), middle, samples.end());
  return *middle;
}

// Of each list.
inline std::vector<double> medians(const std::vector<std::vector<double>>& samples) {
  std::vector<double> out;
  for (const std::vector<double>& s : samples) out.push_back(median(s));
  return out;
}

}  // namespace llmrt
