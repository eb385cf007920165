// The weights of plans with embedded quantized weights, dequantized by the formulas of docs/quantization.md, against
// those that the packer of packing.py meant: equal bit for bit.
//
//   quantized_weights_test --plans DIR --models DIR      for every DIR/NAME.fb: DIR/NAME.dense
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "compiler/frontend/checkpoint.h"
#include "kernels_templates/variant.h"
#include "plan/plan_reader.h"
#include "plan/quantized_layout.h"

namespace {

namespace fb = llm::fb;
using llm::CodeType;

float half_to_float(uint16_t bits) {
  _Float16 v;
  std::memcpy(&v, &bits, sizeof v);
  return static_cast<float>(v);
}

double code_value(CodeType code, unsigned q) {
  static constexpr float kNf4[] = {-1.0f,
                                   -0.6961928009986877f,
                                   -0.5250730514526367f,
                                   -0.39491748809814453f,
                                   -0.28444138169288635f,
                                   -0.18477343022823334f,
                                   -0.09105003625154495f,
                                   0.0f,
                                   0.07958029955625534f,
                                   0.16093020141124725f,
                                   0.24611230194568634f,
                                   0.33791524171829224f,
                                   0.44070982933044434f,
                                   0.5626170039176941f,
                                   0.7229568362236023f,
                                   1.0f};
  static constexpr float kTwelfths[] = {0, 0.0625f, 8, 12, 4, 6, 2, 3};
  if (code == CodeType::kNf4) return kNf4[q];
  if (code == CodeType::kFp4) return (q & 8 ? -1.0f : 1.0f) * static_cast<float>(kTwelfths[q & 7] / 12.0);
  const int exponent = static_cast<int>(q >> 3 & 15), fraction = static_cast<int>(q & 7);
  const double magnitude = exponent ? (8 + fraction) * std::exp2(exponent - 10) : fraction * std::exp2(-9);
  return q & 128 ? -magnitude : magnitude;
}

struct Stored {
  const fb::WeightT& w;
  const unsigned char* bytes;
  llm::QuantizedLayout layout;

  Stored(const fb::WeightT& weight, const llm::PlanFile& plan) : w(weight) {
    bytes = reinterpret_cast<const unsigned char*>(plan.stored(static_cast<uint32_t>(w.segment)).data());
    layout = *llm::quantized_layout({code(), w.rows, w.cols, w.quantization->group, w.dtype == 0 ? 4u : 2u,
                                     w.quantization->zeros, w.quantization->interleave});
  }
  CodeType code() const { return static_cast<CodeType>(w.quantization->code); }
  uint64_t position(uint64_t row, uint64_t column, uint64_t columns) const {
    const uint64_t rows = w.quantization->interleave;
    return (row / rows * columns + column) * rows + row % rows;
  }
  // `middle`: the zero of weights without zeros.
  float weight(uint64_t row, uint64_t column, int middle) const {
    const uint64_t bits = llm::code_bits(code()), words = (w.cols * bits + 127) / 128 * 4, per_word = 32 / bits;
    uint32_t word;
    std::memcpy(&word, bytes + 4 * position(row, column / per_word, words), 4);
    const unsigned q = word >> (column % per_word * bits) & ((1u << bits) - 1);
    const uint64_t groups = (w.cols + w.quantization->group - 1) / w.quantization->group,
                   at = position(row, column / w.quantization->group, groups);
    const unsigned char* s = bytes + layout.scales + at * (w.dtype == 0 ? 4 : 2);
    float scale;
    uint16_t half;
    if (w.dtype == static_cast<uint8_t>(llm::ScalarType::kF32)) {
      std::memcpy(&scale, s, 4);
    } else {
      std::memcpy(&half, s, 2);
      const uint32_t wide = uint32_t{half} << 16;
      std::memcpy(&scale, &wide, 4);
      if (w.dtype == static_cast<uint8_t>(llm::ScalarType::kF16)) scale = half_to_float(half);
    }
    if (code() > CodeType::kU8) return static_cast<float>(code_value(code(), q) * scale);
    const int zero = w.quantization->zeros ? bytes[layout.zeros + at] : middle;
    return static_cast<float>((static_cast<int>(q) - zero) * static_cast<double>(scale));
  }
};

// Columns (or rows) of a source; without entries in their own order.
using Order = std::span<const int32_t>;

uint64_t source_of(const Order& order, uint64_t i) { return order.empty() ? i : static_cast<uint64_t>(order[i]); }

// Whether the weight is `dense`, its rows and columns in these orders.
bool equal(const Stored& stored, const std::vector<std::byte>& dense, const Order& rows, const Order& columns, int middle) {
  if ((!rows.empty() && rows.size() != stored.w.rows) || (!columns.empty() && columns.size() != stored.w.cols)) return false;
  for (uint64_t r = 0; r < stored.w.rows; ++r) {
    for (uint64_t c = 0; c < stored.w.cols; ++c) {
      float expected;
      std::memcpy(&expected, dense.data() + 4 * (source_of(rows, r) * stored.w.cols + source_of(columns, c)), 4);
      const float found = stored.weight(r, c, middle);
      if (found != expected) return false;  // 0 and -0 are the same weight
    }
  }
  return true;
}

int test_plan(const std::string& path, const std::string& dense_folder) {
  const auto plan = llm::PlanFile::open(path);
  const auto dense = llmc::Checkpoint::open(dense_folder);
  if (!plan || !dense) {
    std::printf("FAILED %s: %s\n", path.c_str(), (plan ? dense.error() : plan.error()).message.c_str());
    return 1;
  }
  const fb::TargetT& target = *(*plan)->index().targets[0];
  std::vector<Order> orders = {{}};
  for (const auto& w : target.weights)
    if (w->layout == fb::WeightLayout::order)
      orders.emplace_back(reinterpret_cast<const int32_t*>((*plan)->stored(static_cast<uint32_t>(w->segment)).data()), w->rows);
  int checked = 0, failed = 0;
  for (const auto& w : target.weights) {
    if (w->layout != fb::WeightLayout::quantized) continue;
    const std::string module = w->name.substr(0, w->name.rfind('.'));
    const llmc::TensorInfo* tensor = dense->find(module + ".weight");
    const Stored stored(*w, **plan);
    bool good = false;
    if (tensor) {
      const auto values = dense->read(*tensor);
      for (const Order& rows : orders)
        for (const Order& columns : orders)
          for (int middle : {2, 4, 8, 128}) good |= values && equal(stored, *values, rows, columns, middle);
    }
    ++checked;
    if (good) continue;
    ++failed;
    std::printf("FAILED %s: weight %s differs\n", path.c_str(), w->name.c_str());
  }
  std::printf("%s: %d weights, %d differ\n", path.c_str(), checked, failed);
  return failed > 0 || checked == 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::map<std::string, std::string> options;
  for (int i = 1; i + 1 < argc; i += 2) options[argv[i]] = argv[i + 1];
  int failed = 0, plans = 0;
  for (const auto& entry : std::filesystem::directory_iterator(options["--plans"])) {
    ++plans;
    failed += test_plan(entry.path(), options["--models"] + "/" + entry.path().stem().string() + ".dense");
  }
  return failed > 0 || plans == 0;
}
