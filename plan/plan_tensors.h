// Source tensors of a plan: types, size, and digest between schema and code.
#pragma once

#include <cstring>

#include "kernels_templates/variant.h"
#include "plan/plan_generated.h"
#include "plan/signature.h"

namespace llm {

// The types of source tensors: those of ScalarType, and what quantized checkpoints are made of.
constexpr uint8_t kInt32Dtype = 3, kByteDtype = 4;
static_assert(kByteDtype == static_cast<uint8_t>(ScalarType::kInt8));

// Bytes of an element; 0 for an unknown type.
constexpr uint64_t element_bytes(uint8_t dtype) {
  switch (dtype) {
    case static_cast<uint8_t>(ScalarType::kF32):
    case kInt32Dtype:
      return 4;
    case static_cast<uint8_t>(ScalarType::kF16):
    case static_cast<uint8_t>(ScalarType::kBF16):
      return 2;
    case kByteDtype:
      return 1;
  }
  return 0;
}

constexpr const char* dtype_name(uint8_t dtype) {
  switch (dtype) {
    case static_cast<uint8_t>(ScalarType::kF16):
      return "f16";
    case static_cast<uint8_t>(ScalarType::kBF16):
      return "bf16";
    case kInt32Dtype:
      return "i32";
    case kByteDtype:
      return "int8";
  }
  return "f32";
}

// Of a tensor of a verified plan, in its file.
inline uint64_t tensor_bytes(const fb::SourceTensorT& tensor) {
  return tensor.rows * tensor.cols * element_bytes(tensor.dtype);
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
