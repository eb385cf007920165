#include "compiler/tune/tune.h"

#include <algorithm>
#include <filesystem>
#include <random>

#include "plan/plan_reader.h"

namespace llmc {
namespace {

// Variants that are predicted to take so many times as long as the best are not measured: the model is not that wrong.
constexpr double kHopeless = 6;

// A shape, and the variants to measure for it: that which is chosen without measurements first.
struct Candidates {
  KernelShape shape;
  std::vector<const llm::Variant*> variants;
};

struct Wanted {
  Measurement measurement;  // without its time
  LaunchRow row;
};

std::vector<const llm::Variant*> worth_measuring(const Target& target, const ChosenKernel& chosen) {
  std::vector<const llm::Variant*> variants = {find_variant(target.kind, chosen.shape.family, chosen.variant)};
  const double limit = kHopeless * predict_us(target, *variants[0], chosen.shape);
  for (const llm::Variant& v : all_variants(target.kind))
    if (&v != variants[0] && !v.external && can_run(target, v, chosen.shape) && predict_us(target, v, chosen.shape) <= limit) variants.push_back(&v);
  return variants;
}

// A folder that is gone at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    const auto name = "llmc-tune-" + std::to_string(std::random_device()()) + "-" + std::to_string(std::random_device()());
    std::error_code error;
    path_ = std::filesystem::temp_directory_path(error) / name;
    std::filesystem::create_directory(path_, error);
  }
  ~TemporaryFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  std::string file(const char* name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

class ModelTuner {
 public:
  // `number` of the model; `seen`: the shapes of earlier ones.
  ModelTuner(const TuneOptions& options, size_t number, std::set<std::string>& seen, TuneReport& report)
      : options_(options), target_(*options.compile.targets.at(0)), number_(number), seen_(seen), report_(report), compile_(options.compile) {
    compile_.model_dir = options.model_dirs[number];
    compile_.output = folder_.file("plan.fb");
    compile_.embed_weights = compile_.hash_weights = false;
    compile_.dump_dir.clear();
  }

  // Each round gives every shape its next variant, by measurements that claim so, and measures whole plans: what a kernel reads and writes,
  // and where, is what it will be.
  llm::Status run() {
    for (size_t round = 0, rounds = 1; round < rounds; ++round) {
      if (!options_.plans_dir.empty()) compile_.output = plan_name(round);
      compile_.tuning = Tuning();
      for (const auto& [key, c] : candidates_)
        compile_.tuning.add({target_.name, c.variants[round % c.variants.size()]->name, c.shape, 1});
      LLM_ASSIGN(const CompileReport compiled, compile_model(compile_));
      const std::vector<ChosenProgram>& programs = compiled.chosen.at(target_.name);
      if (round == 0) {
        report_.warnings.insert(report_.warnings.end(), compiled.warnings.begin(), compiled.warnings.end());
        find_candidates(programs);
        for (const auto& [key, c] : candidates_) rounds = std::max(rounds, c.variants.size());
        if (candidates_.empty()) return forget_plan();
      }
      say(compile_.model_dir + ": round " + std::to_string(round + 1) + " of " + std::to_string(rounds) + ", " + std::to_string(compiled.kernels) +
          " kernels");
      LLM_ASSIGN(const std::vector<Wanted> wanted, rows_of(programs, round));
      LLM_TRY(measure(wanted));
    }
    if (!cached_.empty())
      report_.warnings.push_back(compile_.model_dir + ": the weights of " + std::to_string(cached_.size()) + " of " + std::to_string(candidates_.size()) +
                                 " shapes are small enough, over all layers, to stay in the device's cache: their times are not those of a larger model");
    return {};
  }

  size_t shapes() const { return candidates_.size(); }

 private:
  void say(const std::string& line) const {
    if (options_.progress) options_.progress(line);
  }

  // In the order in which they are to be measured.
  std::string plan_name(size_t round) const {
    char name[64];
    std::snprintf(name, sizeof name, "/model%02zu-round%02zu.fb", number_, round);
    return options_.plans_dir + name;
  }

  llm::Status forget_plan() const {
    std::error_code error;
    std::filesystem::remove(compile_.output, error);
    return {};
  }

  void find_candidates(const std::vector<ChosenProgram>& programs) {
    for (const ChosenProgram& program : programs) {
      if (program.sample) continue;
      for (const ChosenKernel& k : program.kernels) {
        if (!options_.families.empty() && !options_.families.count(k.shape.family)) continue;
        const std::string key = shape_key(target_.name, k.shape);
        if (!seen_.insert(key).second) continue;  // in another program, or of another model
        Candidates c{k.shape, worth_measuring(target_, k)};
        if (c.variants.size() > 1) candidates_.emplace(key, std::move(c));
      }
    }
  }

  // What this round measures: each shape that has a variant left, in the first program that has it.
  llm::Result<std::vector<Wanted>> rows_of(const std::vector<ChosenProgram>& programs, size_t round) {
    LLM_ASSIGN(const auto plan, llm::PlanFile::open(compile_.output));
    std::map<std::string, Wanted> rows;
    for (const ChosenProgram& program : programs) {
      if (program.sample) continue;
      const Bucket& b = program.bucket;
      const llm::fb::ProgramT* written = nullptr;
      for (const auto& p : plan->index().targets.at(0)->programs)
        if (p->kind == llm::fb::ProgramKind::forward && p->tokens == b.tokens && p->seqs == b.seqs && p->logits == b.logits) written = p.get();
      size_t at = 0;
      for (const ChosenKernel& k : program.kernels) {
        while (written && at < written->launches.size() && written->launches[at]->op != k.shape.family) ++at;  // launches that no operation stands for
        if (!written || at == written->launches.size())
          return llm::Error{"llmc tune: the plan's launches are not those of its operations; this is an error of llmc"};
        const std::string key = shape_key(target_.name, k.shape);
        const auto candidates = candidates_.find(key);
        if (candidates != candidates_.end() && round < candidates->second.variants.size()) {
          Wanted& w = rows[key];
          if (w.row.launches.empty()) {
            w.measurement = {target_.name, k.variant, k.shape, 0};
            w.row = {written->tokens, written->seqs, written->logits, {}, columns_of(w.measurement)};
          }
          if (w.row.tokens == written->tokens && w.row.seqs == written->seqs && w.row.logits == written->logits) w.row.launches.push_back(at);
        }
        ++at;
      }
    }
    std::vector<Wanted> list;
    for (auto& [key, wanted] : rows) list.push_back(std::move(wanted));
    return list;
  }

  llm::Status measure(const std::vector<Wanted>& wanted) {
    std::vector<LaunchRow> rows;
    for (const Wanted& w : wanted) {
      rows.push_back(w.row);
      if (stays_cached(w)) cached_.insert(w.row.columns.substr(0, w.row.columns.rfind(' ')));
    }
    if (!options_.plans_dir.empty()) return write_rows(std::filesystem::path(compile_.output).replace_extension(".txt"), Tuning::first_line(), rows);
    LLM_ASSIGN(const std::vector<double> times, measure_rows(compile_.output, rows, options_.measuring, contents_));
    for (size_t i = 0; i < times.size(); ++i) {
      if (times[i] <= 0) continue;
      Measurement measured = wanted[i].measurement;
      measured.us = times[i];
      report_.tuning.add(std::move(measured));
    }
    return {};
  }

  // In a row stand the layers' launches, each with weights of its own: too few bytes of them, and the next time they come from the cache.
  bool stays_cached(const Wanted& w) const {
    constexpr double kTimesCache = 2, kKiB = 1024;
    const KernelShape& s = w.measurement.shape;
    if (!s.weight || s.k == 1) return false;
    const double element = *s.weight == llm::ScalarType::kF32 ? 4 : 2;
    return element * static_cast<double>(s.cols * s.k) * static_cast<double>(w.row.launches.size()) < kTimesCache * kKiB * target_.l2_kib;
  }

  const TuneOptions& options_;
  const Target& target_;
  size_t number_;
  std::set<std::string>& seen_;
  TuneReport& report_;
  TemporaryFolder folder_;
  CompileOptions compile_;
  RandomContents contents_;
  std::map<std::string, Candidates> candidates_;
  std::set<std::string> cached_;  // shapes whose weights the device's cache holds
};

llm::Status check_families(const std::set<std::string>& families, const Target& target) {
  for (const std::string& family : families)
    if (std::ranges::none_of(all_variants(target.kind), [&](const llm::Variant& v) { return v.family == family; }))
      return llm::Error{"--families: target " + std::string(target.name) + " has no kernel family '" + family + "'"};
  return {};
}

}  // namespace

llm::Result<TuneReport> tune(const TuneOptions& options) {
  LLM_TRY(check_families(options.families, *options.compile.targets.at(0)));
  if (!options.plans_dir.empty()) {
    std::error_code error;
    std::filesystem::create_directories(options.plans_dir, error);
    if (error) return llm::Error{"--plans: cannot create the folder '" + options.plans_dir + "': " + error.message()};
  }
  TuneReport report;
  std::set<std::string> seen;
  for (size_t i = 0; i < options.model_dirs.size(); ++i) {
    ModelTuner tuner(options, i, seen, report);
    LLM_TRY(tuner.run());
    report.shapes += tuner.shapes();
  }
  if (report.shapes == 0) return llm::Error{"llmc tune: these models have no shape for which there is more than one kernel to choose from"};
  return report;
}

}  // namespace llmc
