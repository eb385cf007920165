#include "passes/Tuning.h"

#include <charconv>
#include <cmath>

namespace llmc {
namespace {

using llm::ScalarType;

constexpr std::string_view kMagic = "llmc-tuning";
constexpr int kVersion = 1;
constexpr std::string_view kTypes[] = {"f32", "f16", "bf16", "bf16_panels", "int8"};  // by ScalarType
constexpr const char* kColumns = "target family weight operand kv head_dim rows cols k row_tiles bytes flops tile_bytes variant us";
constexpr size_t kColumnCount = 15;

std::string type_text(const std::optional<ScalarType>& type) { return type ? std::string(kTypes[static_cast<size_t>(*type)]) : "-"; }

// One of `allowed`, a mask of llm::TypeMask.
bool read_type(std::string_view text, uint32_t allowed, std::optional<ScalarType>& type) {
  if (text == "-") return true;
  for (size_t i = 0; i < std::size(kTypes); ++i)
    if (text == kTypes[i] && (allowed >> i & 1)) return type = static_cast<ScalarType>(i), true;
  return false;
}

template <typename Number>
bool read_number(std::string_view text, Number least, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size() && number >= least && std::isfinite(static_cast<double>(number));
}

constexpr const char* kCodes[] = {"u2", "u4", "u8", "e4m3", "nf4", "fp4"};  // by llm::CodeType

// The family, and of quantized weights what else their kernels depend on: "linear_quantized/u4/128/8/0", code, group, order, group of int8
// activations.
std::string family_text(const KernelShape& s) {
  if (!s.code) return s.family;
  std::string text = s.family + "/" + kCodes[static_cast<size_t>(*s.code)];
  for (const int64_t number : {s.group, static_cast<int64_t>(s.interleave), s.int8_group}) text += "/" + std::to_string(number);
  return text;
}

bool read_family(std::string_view text, KernelShape& s) {
  s.family = text.substr(0, text.find('/'));
  if (s.family.size() == text.size()) return true;
  std::vector<std::string_view> parts;
  for (std::string_view rest = text.substr(s.family.size() + 1);;) {
    parts.push_back(rest.substr(0, rest.find('/')));
    if (parts.back().size() == rest.size()) break;
    rest.remove_prefix(parts.back().size() + 1);
  }
  if (parts.size() != 4) return false;
  for (size_t i = 0; i < std::size(kCodes); ++i)
    if (parts[0] == kCodes[i]) s.code = static_cast<llm::CodeType>(i);
  return s.code && read_number<int64_t>(parts[1], 1, s.group) && read_number(parts[2], 0, s.interleave) && read_number<int64_t>(parts[3], 0, s.int8_group);
}

// The words of a line, without its comment.
std::vector<std::string_view> words_of(std::string_view line) {
  constexpr std::string_view kBlanks = " \t\r";
  line = line.substr(0, line.find('#'));
  std::vector<std::string_view> words;
  for (size_t at = line.find_first_not_of(kBlanks); at != std::string_view::npos; at = line.find_first_not_of(kBlanks, at)) {
    const size_t end = std::min(line.find_first_of(kBlanks, at), line.size());
    words.push_back(line.substr(at, end - at));
    at = end;
  }
  return words;
}

// What is wrong with the words of a measurement's line; empty if nothing is.
std::string read_measurement(const std::vector<std::string_view>& words, Measurement& m) {
  if (words.size() != kColumnCount)
    return "found " + std::to_string(words.size()) + " columns, expected " + std::to_string(kColumnCount) + ": " + kColumns;
  KernelShape& s = m.shape;
  m.target = words[0], m.variant = words[13];
  const auto wrong = [&](size_t column, const char* name, const char* expected) {
    return std::string(name) + " is '" + std::string(words[column]) + "', expected " + expected;
  };
  if (const auto target = find_target(m.target, nullptr); !target || (*target)->name != m.target) return "no target is named '" + m.target + "'";
  if (!read_family(words[1], s)) return wrong(1, "family", "a name, for quantized weights with /code/group/order/int8 group behind it");
  struct TypeColumn {
    const char* name;
    std::optional<ScalarType>* type;
    uint32_t allowed;
    const char* expected;
  };
  const TypeColumn types[] = {{"weight", &s.weight, llm::kAnyType, "f32, f16, bf16 or -"},
                              {"operand", &s.operand, llm::kAnyType | llm::kBF16PanelsBit, "f32, f16, bf16, bf16_panels or -"},
                              {"kv", &s.kv, llm::kAnyKv, "f32, f16, bf16, int8 or -"}};
  for (size_t i = 0; i < std::size(types); ++i)
    if (!read_type(words[2 + i], types[i].allowed, *types[i].type)) return wrong(2 + i, types[i].name, types[i].expected);
  if (!read_number<int64_t>(words[5], 0, s.head_dim)) return wrong(5, "head_dim", "a number from 0");
  const std::pair<const char*, int64_t*> counts[] = {{"rows", &s.rows}, {"cols", &s.cols}, {"k", &s.k}, {"row_tiles", &s.least_row_tiles}};
  for (size_t i = 0; i < std::size(counts); ++i)
    if (!read_number<int64_t>(words[6 + i], 1, *counts[i].second)) return wrong(6 + i, counts[i].first, "a number from 1");
  const std::pair<const char*, double*> work[] = {{"bytes", &s.bytes}, {"flops", &s.flops}, {"tile_bytes", &s.row_tile_bytes}};
  for (size_t i = 0; i < std::size(work); ++i)
    if (!read_number<double>(words[10 + i], 0.0, *work[i].second)) return wrong(10 + i, work[i].first, "a number from 0");
  if (!read_number<double>(words[14], 0.0, m.us) || m.us == 0) return wrong(14, "us", "microseconds above 0");
  return "";
}

std::string decimal(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

}  // namespace

std::string shape_key(std::string_view target, const KernelShape& s) {
  std::string key(target);
  for (const std::string& word : {family_text(s), type_text(s.weight), type_text(s.operand), type_text(s.kv)}) key += " " + word;
  for (const int64_t number : {s.head_dim, s.rows, s.cols, s.k, s.least_row_tiles}) key += " " + std::to_string(number);
  return key;
}

std::string columns_of(const Measurement& m) {
  std::string columns = shape_key(m.target, m.shape);
  for (const double work : {m.shape.bytes, m.shape.flops, m.shape.row_tile_bytes}) columns += decimal(" %.0f", work);
  return columns + " " + m.variant;
}

std::string Tuning::first_line() { return std::string(kMagic) + " " + std::to_string(kVersion); }

llm::Result<Tuning> Tuning::parse(std::string_view text, const std::string& file, std::vector<std::string>& warnings) {
  Tuning tuning;
  std::map<std::string, size_t> seen;  // measurement -> line
  for (size_t number = 1; !text.empty() || number == 1; ++number) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const std::string where = "tuning file '" + file + "', line " + std::to_string(number) + ": ";
    const std::vector<std::string_view> words = words_of(line);
    if (number == 1) {
      int version = 0;
      if (words.size() != 2 || words[0] != kMagic || !read_number(words[1], 1, version))
        return llm::Error{where + "expected '" + first_line() + "', found '" + std::string(line.substr(0, 40)) + "'"};
      if (version != kVersion)
        return llm::Error{where + "format version " + std::to_string(version) + " is not the one of this compiler, " + std::to_string(kVersion) +
                          "; measure again with llmc tune"};
      continue;
    }
    if (words.empty()) continue;
    Measurement m;
    if (const std::string problem = read_measurement(words, m); !problem.empty()) return llm::Error{where + problem};
    const auto [first, fresh] = seen.try_emplace(shape_key(m.target, m.shape) + " " + m.variant, number);
    if (!fresh) return llm::Error{where + "the same was measured in line " + std::to_string(first->second)};
    if (!find_variant((*find_target(m.target, nullptr))->kind, m.shape.family, m.variant)) {
      warnings.push_back(where + "this compiler has no " + m.shape.family + " kernel named '" + m.variant + "'; the line is ignored");
      continue;
    }
    tuning.add(std::move(m));
  }
  return tuning;
}

void Tuning::add(Measurement m) {
  const auto [at, fresh] = index_.try_emplace(shape_key(m.target, m.shape) + " " + m.variant, measurements_.size());
  if (fresh)
    measurements_.push_back(std::move(m));
  else
    measurements_[at->second] = std::move(m);
}

std::string Tuning::text(std::string_view target) const {
  std::string text = first_line() + "\n# " + kColumns + "\n";
  for (const Measurement& m : measurements_) {
    if (!target.empty() && m.target != target) continue;
    text += columns_of(m) + decimal(" %.3f\n", m.us);
  }
  return text;
}

std::optional<double> Tuning::us(std::string_view target, const KernelShape& shape, std::string_view variant) const {
  const auto found = index_.find(shape_key(target, shape) + " " + std::string(variant));
  return found == index_.end() ? std::nullopt : std::optional(measurements_[found->second].us);
}

std::vector<std::vector<Measurement>> Tuning::by_shape() const {
  std::vector<std::vector<Measurement>> shapes;
  std::map<std::string, size_t> index;
  for (const Measurement& m : measurements_) {
    const auto [at, fresh] = index.try_emplace(shape_key(m.target, m.shape), shapes.size());
    if (fresh) shapes.emplace_back();
    shapes[at->second].push_back(m);
  }
  return shapes;
}

}  // namespace llmc
