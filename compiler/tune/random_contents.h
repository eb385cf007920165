// Random numbers for weights and caches: data of one value would draw less power than a model does, and the clocks would be higher.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "kernels_templates/variant.h"

namespace llmc {

class RandomContents {
 public:
  // Vectors are 1 +- 0.1, as norms are; the rest has mean 0 and deviation 0.02. Valid as long as this object.
  std::span<const std::byte> of(llm::ScalarType type, bool vector);

 private:
  std::map<std::pair<llm::ScalarType, bool>, std::vector<std::byte>> made_;
};

}  // namespace llmc
