#include "compiler/tune/random_contents.h"

#include "tools/random_weights.h"

namespace llmc {
namespace {

constexpr size_t kValues = size_t{1} << 21;
constexpr uint64_t kSeed = 1;

DType dtype_of(llm::ScalarType type) {
  switch (type) {
    case llm::ScalarType::kF16: return DType::kF16;
    case llm::ScalarType::kBF16: return DType::kBF16;
    case llm::ScalarType::kF32: break;
  }
  return DType::kF32;
}

}  // namespace

std::span<const std::byte> RandomContents::of(llm::ScalarType type, bool vector) {
  if (type == llm::ScalarType::kInt8) type = llm::ScalarType::kF32;  // the scales; codes may be any bits
  std::vector<std::byte>& bytes = made_[{type, vector}];
  if (bytes.empty()) {
    bytes.resize(kValues * (type == llm::ScalarType::kF32 ? 4 : 2));
    fill_random(kSeed, 0, kValues, vector ? Distribution{1.0f, 0.1f} : Distribution{0.0f, 0.02f}, dtype_of(type), bytes.data());
  }
  return bytes;
}

}  // namespace llmc
