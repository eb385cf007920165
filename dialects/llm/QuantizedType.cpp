// The types of quantized weights and activations: text, verifiers, codes.
#include "dialects/llm/LlmDialect.h"
#include "mlir/IR/DialectImplementation.h"

namespace llmc::ops {
namespace {

struct Code {
  llvm::StringLiteral name;
  int64_t bits;
  llm::CodeType storage;
  int64_t stored_bits;
};

constexpr Code kCodes[] = {
    {"u2", 2, llm::CodeType::kU2, 2},   {"u3", 3, llm::CodeType::kU4, 4},     {"u4", 4, llm::CodeType::kU4, 4},
    {"u8", 8, llm::CodeType::kU8, 8},   {"e4m3", 8, llm::CodeType::kE4M3, 8}, {"nf4", 4, llm::CodeType::kNf4, 4},
    {"fp4", 4, llm::CodeType::kFp4, 4},
};

const Code* find_code(llvm::StringRef name) {
  for (const Code& code : kCodes)
    if (code.name == name) return &code;
  return nullptr;
}

}  // namespace

int64_t QuantizedType::bits() const { return find_code(getCode())->bits; }
llm::CodeType QuantizedType::storage() const { return find_code(getCode())->storage; }
int64_t QuantizedType::storedBits() const { return find_code(getCode())->stored_bits; }

mlir::LogicalResult QuantizedType::verify(llvm::function_ref<mlir::InFlightDiagnostic()> error, llvm::StringRef code,
                                          int64_t group, mlir::Type scale, bool zeros, bool) {
  if (!find_code(code))
    return error() << "a quantized element's code is u2, u3, u4, u8, e4m3, nf4 or fp4, found '" << code << "'";
  if (group <= 0) return error() << "a quantized element's group is a positive number of columns, found " << group;
  if (!scale.isF32() && !scale.isF16() && !scale.isBF16())
    return error() << "a quantized element's scale is f32, f16 or bf16, found " << scale;
  if (zeros && !code.starts_with("u"))
    return error() << "only integer codes have zeros, found them with '" << code << "'";
  return mlir::success();
}

mlir::Type QuantizedType::parse(mlir::AsmParser& parser) {
  llvm::StringRef code;
  int64_t group = 0;
  mlir::Type scale;
  bool zeros = false, ordered = false;
  const llvm::SMLoc where = parser.getCurrentLocation();
  if (parser.parseLess() || parser.parseKeyword(&code) || parser.parseComma() || parser.parseKeyword("group") ||
      parser.parseInteger(group) || parser.parseComma() || parser.parseKeyword("scale") || parser.parseType(scale))
    return {};
  while (mlir::succeeded(parser.parseOptionalComma())) {
    if (!zeros && !ordered && mlir::succeeded(parser.parseOptionalKeyword("zeros"))) {
      zeros = true;
    } else if (!ordered && mlir::succeeded(parser.parseOptionalKeyword("ordered"))) {
      ordered = true;
    } else {
      parser.emitError(parser.getCurrentLocation(), "expected 'zeros', then 'ordered'");
      return {};
    }
  }
  if (parser.parseGreater()) return {};
  return getChecked([&] { return parser.emitError(where); }, parser.getContext(), code, group, scale, zeros, ordered);
}

void QuantizedType::print(mlir::AsmPrinter& printer) const {
  printer << "<" << getCode() << ", group " << getGroup() << ", scale " << getScale();
  if (getZeros()) printer << ", zeros";
  if (getOrdered()) printer << ", ordered";
  printer << ">";
}

mlir::Type Int8RowsType::parse(mlir::AsmParser& parser) {
  int64_t group = 0, bits = 0;
  bool panels = false;
  const llvm::SMLoc where = parser.getCurrentLocation();
  if (parser.parseLess() || parser.parseKeyword("group") || parser.parseInteger(group) || parser.parseComma() ||
      parser.parseKeyword("bits") || parser.parseInteger(bits))
    return {};
  if (mlir::succeeded(parser.parseOptionalComma())) {
    if (parser.parseKeyword("panels")) return {};
    panels = true;
  }
  if (parser.parseGreater()) return {};
  return getChecked([&] { return parser.emitError(where); }, parser.getContext(), group, bits, panels);
}

void Int8RowsType::print(mlir::AsmPrinter& printer) const {
  printer << "<group " << getGroup() << ", bits " << getBits();
  if (getPanels()) printer << ", panels";
  printer << ">";
}

mlir::LogicalResult Int8RowsType::verify(llvm::function_ref<mlir::InFlightDiagnostic()> error, int64_t group, int64_t bits, bool panels) {
  // A group is whole words of codes.
  if (group <= 0 || group % 32 != 0) return error() << "int8 rows have groups of a multiple of 32 columns, found " << group;
  if (bits != 2 && bits != 4 && bits != 8) return error() << "int8 rows are for weights of 2, 4 or 8 bits, found " << bits;
  if (panels && group != 64 && group != 128 && group != 256) return error() << "int8 panels have groups of 64, 128 or 256 columns, found " << group;
  return mlir::success();
}

bool takes_int8_rows(QuantizedType weight, int64_t k, int64_t group) {
  constexpr int64_t kWords = 32;  // columns that are whole words of codes
  const int64_t weight_group = weight.getGroup();
  return weight.isInteger() && k % group == 0 && weight_group % kWords == 0 && (weight_group % group == 0 || group % weight_group == 0);
}

}  // namespace llmc::ops
