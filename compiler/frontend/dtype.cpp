#include "compiler/frontend/dtype.h"

#include <array>

namespace llmc {
namespace {

struct DTypeRow {
  DType dtype;
  std::string_view name;
  int bits;
};

// Source: safetensors, enum Dtype. In the order of the enum: dtype_row() indexes by value.
constexpr std::array kDTypes = {
    DTypeRow{DType::kBool, "BOOL", 8},
    DTypeRow{DType::kU8, "U8", 8},
    DTypeRow{DType::kI8, "I8", 8},
    DTypeRow{DType::kU16, "U16", 16},
    DTypeRow{DType::kI16, "I16", 16},
    DTypeRow{DType::kU32, "U32", 32},
    DTypeRow{DType::kI32, "I32", 32},
    DTypeRow{DType::kU64, "U64", 64},
    DTypeRow{DType::kI64, "I64", 64},
    DTypeRow{DType::kF16, "F16", 16},
    DTypeRow{DType::kBF16, "BF16", 16},
    DTypeRow{DType::kF32, "F32", 32},
    DTypeRow{DType::kF64, "F64", 64},
    DTypeRow{DType::kC64, "C64", 64},
    DTypeRow{DType::kF8E5M2, "F8_E5M2", 8},
    DTypeRow{DType::kF8E4M3, "F8_E4M3", 8},
    DTypeRow{DType::kF8E8M0, "F8_E8M0", 8},
    DTypeRow{DType::kF8E4M3FNUZ, "F8_E4M3FNUZ", 8},
    DTypeRow{DType::kF8E5M2FNUZ, "F8_E5M2FNUZ", 8},
    DTypeRow{DType::kF4, "F4", 4},
    DTypeRow{DType::kF6E2M3, "F6_E2M3", 6},
    DTypeRow{DType::kF6E3M2, "F6_E3M2", 6},
};

constexpr bool rows_are_in_enum_order() {
  for (size_t i = 0; i < kDTypes.size(); ++i) {
    if (static_cast<size_t>(kDTypes[i].dtype) != i) return false;
  }
  return true;
}
static_assert(rows_are_in_enum_order());

const DTypeRow& dtype_row(DType dtype) { return kDTypes[static_cast<size_t>(dtype)]; }

}  // namespace

std::string_view dtype_name(DType dtype) { return dtype_row(dtype).name; }

int dtype_bits(DType dtype) { return dtype_row(dtype).bits; }

std::optional<DType> dtype_from_name(std::string_view name) {
  for (const DTypeRow& row : kDTypes) {
    if (row.name == name) return row.dtype;
  }
  return std::nullopt;
}

}  // namespace llmc
