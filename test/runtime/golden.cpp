#include "test/runtime/golden.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "plan/mapped_file.h"

namespace llmrt_test {
namespace {

// NumPy's .npy, version 1.0, little-endian float32 in C order: what numpy.save writes.
llm::Result<std::vector<float>> read_npy(const std::string& path, size_t rows) {
  LLM_ASSIGN(const std::string bytes, llm::read_text_file(path));
  constexpr size_t kHeadBytes = 10;
  if (bytes.size() < kHeadBytes || bytes.compare(0, 8, std::string("\x93NUMPY\x01\x00", 8)) != 0)
    return llm::Error{"'" + path + "' is not a .npy file of version 1.0"};
  const size_t header = static_cast<unsigned char>(bytes[8]) | static_cast<size_t>(static_cast<unsigned char>(bytes[9]))
                                                                   << 8;
  const size_t begin = kHeadBytes + header;
  const std::string_view text = std::string_view(bytes).substr(kHeadBytes, header);
  if (begin > bytes.size() || text.find("'<f4'") == text.npos || text.find("False") == text.npos)
    return llm::Error{"'" + path + "' does not hold float32 in C order"};
  std::vector<float> values((bytes.size() - begin) / sizeof(float));
  std::memcpy(values.data(), bytes.data() + begin, values.size() * sizeof(float));
  if (values.empty() || values.size() % rows != 0)
    return llm::Error{"'" + path + "' does not hold " + std::to_string(rows) + " rows"};
  return values;
}

struct Softmax {
  size_t best = 0;
  double maximum, log_sum;
};

Softmax softmax(std::span<const float> row) {
  Softmax s;
  s.best = static_cast<size_t>(std::max_element(row.begin(), row.end()) - row.begin());
  s.maximum = row[s.best];
  double sum = 0;
  for (float v : row) sum += std::exp(v - s.maximum);
  s.log_sum = s.maximum + std::log(sum);
  return s;
}

}  // namespace

llm::Result<Golden> read_golden(const std::string& folder, const std::string& name) {
  LLM_ASSIGN(const std::string text, llm::read_text_file(folder + "/" + name + ".json"));
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return llm::Error{"golden '" + name + "' is not JSON"};
  Golden g;
  g.name = name;
  g.dtype = json.at("dtype").get<std::string>();
  g.ids = json.at("ids").get<std::vector<int32_t>>();
  g.own_kl = json.at("kl_of_transformers_itself").get<std::map<std::string, double>>();
  LLM_ASSIGN(g.logits, read_npy(folder + "/" + json.at("logits").get<std::string>(), g.ids.size()));
  g.vocab = g.logits.size() / g.ids.size();
  return g;
}

llm::Result<std::vector<std::string>> list_goldens(const std::string& folder) {
  std::error_code error;
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error))
    if (entry.path().extension() == ".npy") names.push_back(entry.path().stem().string());
  if (names.empty()) return llm::Error{"no goldens in '" + folder + "'"};
  std::sort(names.begin(), names.end());
  return names;
}

Comparison compare(std::span<const float> expected, std::span<const float> actual, size_t vocab, double tie) {
  Comparison c;
  c.rows = expected.size() / vocab;
  for (size_t r = 0; r < c.rows; ++r) {
    const auto e = expected.subspan(r * vocab, vocab), a = actual.subspan(r * vocab, vocab);
    const Softmax p = softmax(e), q = softmax(a);
    double kl = 0, second = -std::numeric_limits<double>::infinity();
    bool finite = true;
    for (size_t i = 0; i < vocab; ++i) {
      const double log_p = e[i] - p.log_sum;
      kl += std::exp(log_p) * (log_p - (a[i] - q.log_sum));
      finite &= std::isfinite(a[i]);
      if (i != p.best) second = std::max<double>(second, e[i]);
    }
    if (!finite || std::isnan(kl)) kl = std::numeric_limits<double>::infinity();
    c.mean_kl += kl / static_cast<double>(c.rows);
    c.max_kl = std::max(c.max_kl, kl);
    if (p.maximum - second < tie)
      ++c.near_ties;
    else if (p.best != q.best)
      ++c.wrong_top1;
  }
  return c;
}

}  // namespace llmrt_test
