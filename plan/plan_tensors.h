// Source tensors of a plan: size, and digest between schema and code.
#pragma once

#include <cstring>

#include "kernels_templates/variant.h"
#include "plan/plan_generated.h"
#include "plan/signature.h"

namespace llm {

// Of a tensor of a verified plan, in its file.
inline uint64_t tensor_bytes(const fb::SourceTensorT& tensor) {
  const uint64_t element = tensor.dtype == static_cast<uint8_t>(ScalarType::kF32) ? 4 : 2;
  return tensor.rows * tensor.cols * element;
}

inline fb::Digest256 fb_digest(const Digest& digest) {
  fb::Digest256 out;
  static_assert(sizeof out == sizeof digest);
  std::memcpy(&out, digest.data(), sizeof out);
  return out;
}

inline Digest digest_of(const fb::Digest256& digest) {
  Digest out;
  std::memcpy(out.data(), &digest, sizeof out);
  return out;
}

}  // namespace llm
