#include "compiler/tune/tune_check.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "compiler/tuning_choice.h"

namespace llmc {
namespace {

struct Verdict {
  std::string shape, best, chosen;
  double best_us = 0, chosen_us = 0;  // chosen_us 0: the variant that the model chooses was not measured

  double slower() const { return chosen_us / best_us - 1; }
};

llm::Result<Verdict> judge(const std::vector<Measurement>& measured) {
  const Measurement& best = *std::min_element(measured.begin(), measured.end(), [](const auto& a, const auto& b) { return a.us < b.us; });
  LLM_ASSIGN(const Target* target, find_target(best.target, nullptr));
  LLM_ASSIGN(const KernelChoice choice, choose_kernel(*target, best.shape, ""));
  Verdict v{shape_key(best.target, best.shape), best.variant, choice.best.variant->name, best.us, 0};
  for (const Measurement& m : measured)
    if (m.variant == v.chosen) v.chosen_us = m.us;
  return v;
}

std::string line(const char* format, auto... values) {
  char text[256];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

}  // namespace

llm::Status check_tuning(const std::vector<std::string>& files, bool json, std::string& out) {
  Tuning all;
  std::vector<std::string> ignored;
  for (const std::string& file : files) {
    LLM_ASSIGN(const Tuning one, load_tuning(file, ignored));
    for (const auto& shape : one.by_shape())
      for (const Measurement& m : shape) all.add(m);
  }
  std::vector<Verdict> verdicts;
  for (const auto& shape : all.by_shape()) {
    if (shape.size() < 2) continue;
    LLM_ASSIGN(Verdict verdict, judge(shape));
    verdicts.push_back(std::move(verdict));
  }
  if (verdicts.empty()) return llm::Error{"no shape of these files has more than one measured variant; measure with llmc tune"};
  double worst = 0, sum = 0;
  size_t judged = 0;
  for (const Verdict& v : verdicts) {
    if (v.chosen_us == 0) continue;
    worst = std::max(worst, v.slower()), sum += v.slower(), ++judged;
  }
  const double mean = judged ? sum / static_cast<double>(judged) : 0;
  if (json) {
    nlohmann::ordered_json j = {{"shapes", verdicts.size()}, {"not_measured", verdicts.size() - judged}, {"worst", worst}, {"mean", mean}};
    for (const Verdict& v : verdicts)
      j["verdicts"].push_back({{"shape", v.shape}, {"best", v.best}, {"best_us", v.best_us}, {"chosen", v.chosen}, {"chosen_us", v.chosen_us}});
    out = j.dump(2) + "\n";
    return {};
  }
  for (const std::string& i : ignored) out += "warning: " + i + "\n";
  out += line("%-60s %-24s %10s  %-24s %10s %8s\n", "shape", "fastest", "us", "the model's choice", "us", "slower");
  for (const Verdict& v : verdicts) {
    out += line("%-60s %-24s %10.2f  %-24s ", v.shape.c_str(), v.best.c_str(), v.best_us, v.chosen.c_str());
    out += v.chosen_us == 0 ? std::string("not measured\n") : line("%10.2f %7.1f%%\n", v.chosen_us, 100 * v.slower());
  }
  out += line("%zu shapes, %zu of them without a time for the model's choice: worst %.1f%%, mean %.1f%%\n", verdicts.size(), verdicts.size() - judged,
              100 * worst, 100 * mean);
  return {};
}

}  // namespace llmc
