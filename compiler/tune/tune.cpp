#include "compiler/tune/tune.h"

#include <algorithm>
#include <filesystem>
#include <random>

#include "compiler/tune/random_contents.h"
#include "runtime/engine.h"
#include "runtime/uniform_step.h"

namespace llmc {
namespace {

// Variants that are predicted to take so many times as long as the best are not measured: the model is not that wrong.
constexpr double kHopeless = 6;
constexpr size_t kContext = 512;  // cached entries before the step, as selection assumes (KernelShapes.cpp)

// A shape, and the variants to measure for it: that which is chosen without measurements first.
struct Candidates {
  KernelShape shape;
  std::vector<const llm::Variant*> variants;
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
  ModelTuner(const TuneOptions& options, const std::string& model_dir, TuneReport& report)
      : options_(options), target_(*options.compile.targets.at(0)), report_(report), compile_(options.compile) {
    compile_.model_dir = model_dir;
    compile_.output = folder_.file("plan.fb");
    compile_.embed_weights = compile_.hash_weights = false;
    compile_.dump_dir.clear();
  }

  // Each round gives every shape its next variant, by measurements that claim so, and measures whole plans: what a kernel reads and writes,
  // and where, is what it will be.
  llm::Status run() {
    for (size_t round = 0, rounds = 1; round < rounds; ++round) {
      compile_.tuning = Tuning();
      for (const auto& [key, c] : candidates_)
        compile_.tuning.add({target_.name, c.variants[round % c.variants.size()]->name, c.shape, 1});
      LLM_ASSIGN(const CompileReport compiled, compile_model(compile_));
      const std::vector<ChosenProgram>& programs = compiled.chosen.at(target_.name);
      if (round == 0) {
        report_.warnings.insert(report_.warnings.end(), compiled.warnings.begin(), compiled.warnings.end());
        find_candidates(programs);
        for (const auto& [key, c] : candidates_) rounds = std::max(rounds, c.variants.size());
        if (candidates_.empty()) return {};
      }
      say(compile_.model_dir + ": round " + std::to_string(round + 1) + " of " + std::to_string(rounds) + ", " + std::to_string(compiled.kernels) +
          " kernels");
      LLM_TRY(measure(programs, round));
    }
    if (!cached_.empty())
      report_.warnings.push_back(compile_.model_dir + ": the weights of " + std::to_string(cached_.size()) + " of " + std::to_string(candidates_.size()) +
                                 " shapes are small enough, over all layers, to stay in the device's cache: their times are not those of a larger model");
    return {};
  }

 private:
  void say(const std::string& line) const {
    if (options_.progress) options_.progress(line);
  }

  void find_candidates(const std::vector<ChosenProgram>& programs) {
    for (const ChosenProgram& program : programs) {
      if (program.sample) continue;
      for (const ChosenKernel& k : program.kernels) {
        if (!options_.families.empty() && !options_.families.count(k.shape.family)) continue;
        if (report_.tuning.us(target_.name, k.shape, k.variant)) continue;  // another model has it too
        const std::string key = shape_key(target_.name, k.shape);
        if (candidates_.count(key)) continue;
        Candidates c{k.shape, worth_measuring(target_, k)};
        if (c.variants.size() > 1) candidates_.emplace(key, std::move(c));
      }
    }
  }

  llm::Status measure(const std::vector<ChosenProgram>& programs, size_t round) {
    LLM_ASSIGN(auto plan, llm::PlanFile::open(compile_.output));
    llmrt::EngineOptions engine_options;
    engine_options.device.device = options_.device;
    engine_options.device.target = target_.name;
    engine_options.contents = [this](llm::ScalarType type, bool vector) { return contents_.of(type, vector); };
    LLM_ASSIGN(auto engine, llmrt::Engine::load(plan, engine_options));
    if (!engine->note().empty())
      return llm::Error{"llmc tune measures on the target's own device only, where its exact code runs: " + engine->note()};
    std::set<std::string> measured;  // a shape may be in several programs
    for (const ChosenProgram& program : programs)
      if (!program.sample) LLM_TRY(measure(*engine, program, round, measured));
    return {};
  }

  llm::Status measure(llmrt::Engine& engine, const ChosenProgram& program, size_t round, std::set<std::string>& measured) {
    const Bucket& b = program.bucket;
    LLM_ASSIGN(const auto launches, engine.forward_launches(static_cast<size_t>(b.tokens), static_cast<size_t>(b.seqs), static_cast<size_t>(b.logits)));
    struct Row {
      ChosenKernel kernel;
      std::vector<size_t> launches;
    };
    std::map<std::string, Row> rows;  // by shape
    size_t at = 0;
    for (const ChosenKernel& k : program.kernels) {
      while (at < launches.size() && launches[at]->op != k.shape.family) ++at;  // launches that no operation stands for
      if (at == launches.size()) return llm::Error{"llmc tune: the plan's launches are not those of its operations; this is an error of llmc"};
      const std::string key = shape_key(target_.name, k.shape);
      const auto wanted = candidates_.find(key);
      if (wanted != candidates_.end() && round < wanted->second.variants.size() && !measured.count(key))
        rows.try_emplace(key, Row{k, {}}).first->second.launches.push_back(at);
      ++at;
    }
    if (rows.empty()) return {};
    LLM_ASSIGN(llmrt::StepInput step, step_of(engine, b));
    LLM_TRY(engine.upload_block_table(step.block_updates));
    LLM_ASSIGN(const auto whole_step, engine.profile(step, 1));  // leaves activations behind that a step makes
    for (const auto& [key, row] : rows) {
      LLM_ASSIGN(const double us, engine.time_in_a_row(step, row.launches, options_.seconds_per_kernel));
      report_.tuning.add({target_.name, row.kernel.variant, row.kernel.shape, us});
      measured.insert(key);
      if (row.kernel.shape.k > 1 && stays_cached(*launches[row.launches[0]], row.launches.size())) cached_.insert(key);
    }
    return {};
  }

  // A full step of the bucket: decode buckets have a token a sequence, token buckets are a prompt's.
  llm::Result<llmrt::StepInput> step_of(llmrt::Engine& engine, const Bucket& b) {
    const bool decode = b.tokens <= b.seqs;
    const auto tokens = static_cast<size_t>(decode ? 1 : b.tokens), seqs = static_cast<size_t>(decode ? b.tokens : 1);
    const uint64_t room = engine.plan().limits->max_context;
    if (tokens > room) return llm::Error{"llmc tune: a step of " + std::to_string(tokens) + " tokens needs --max-context of as many"};
    LLM_ASSIGN(llmrt::StepInput step,
               llmrt::uniform_step(engine.plan(), engine.memory().kv_blocks, tokens, seqs, std::min<uint64_t>(kContext, room - tokens)));
    step.logit_rows.clear();
    for (int64_t i = std::max<int64_t>(0, b.tokens - b.logits); i < b.tokens; ++i) step.logit_rows.push_back(static_cast<int32_t>(i));
    return step;
  }

  // In a row stand the layers' launches, each with weights of its own: too few bytes of them, and the next time they come from the cache.
  bool stays_cached(const llm::fb::LaunchT& launch, size_t layers) const {
    constexpr double kTimesCache = 2, kKiB = 1024;
    const double weights = launch.bytes->constant() * static_cast<double>(layers);
    return weights > 0 && weights < kTimesCache * kKiB * target_.l2_kib;
  }

  const TuneOptions& options_;
  const Target& target_;
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
  TuneReport report;
  for (const std::string& dir : options.model_dirs) LLM_TRY(ModelTuner(options, dir, report).run());
  if (report.tuning.empty()) return llm::Error{"llmc tune: these models have no shape for which there is more than one kernel to choose from"};
  return report;
}

}  // namespace llmc
