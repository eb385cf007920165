// The element types that a safetensors header can name.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace llmc {

enum class DType : uint8_t {
  kBool,
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kU64,
  kI64,
  kF16,
  kBF16,
  kF32,
  kF64,
  kC64,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kF8E4M3FNUZ,
  kF8E5M2FNUZ,
  kF4,
  kF6E2M3,
  kF6E3M2,
};

// The name as safetensors writes it: "BF16".
std::string_view dtype_name(DType dtype);

// Bits of one element; 4 and 6 for the packed types.
int dtype_bits(DType dtype);

// The dtype that safetensors calls `name`, or nothing.
std::optional<DType> dtype_from_name(std::string_view name);

}  // namespace llmc
