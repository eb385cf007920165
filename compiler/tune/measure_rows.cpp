#include "compiler/tune/measure_rows.h"

#include <algorithm>
#include <map>
#include <span>
#include <sstream>
#include <tuple>

#include "plan/file_io.h"
#include "plan/mapped_file.h"
#include "runtime/engine.h"
#include "runtime/uniform_step.h"

namespace llmc {
namespace {

constexpr uint64_t kContext = 512;  // cached entries before the step, as selection assumes (passes/KernelShapes.cpp)

using BucketKey = std::tuple<uint32_t, uint32_t, uint32_t>;

// A full step of the bucket: decode buckets have a token a sequence, token buckets are a prompt's.
llm::Result<llmrt::StepInput> step_of(const llmrt::Engine& engine, const BucketKey& bucket) {
  const auto [tokens, seqs, logits] = bucket;
  const bool decode = tokens <= seqs;
  const uint64_t new_tokens = decode ? 1 : tokens, room = engine.plan().limits->max_context;
  if (new_tokens > room) return llm::Error{"measuring a step of " + std::to_string(tokens) + " tokens needs --max-context of as many"};
  LLM_ASSIGN(llmrt::StepInput step, llmrt::uniform_step(engine.plan(), engine.memory().kv_blocks, new_tokens, decode ? tokens : 1,
                                                        std::min(kContext, room - new_tokens)));
  step.logit_rows.clear();
  for (uint32_t i = tokens - std::min(tokens, logits); i < tokens; ++i) step.logit_rows.push_back(static_cast<int32_t>(i));
  return step;
}

// Whether such a step runs in this bucket's program: a smaller one may hold it too.
llm::Result<bool> is_of_bucket(llmrt::Engine& engine, const llmrt::StepInput& step, const BucketKey& bucket) {
  LLM_ASSIGN(const auto launches, engine.forward_launches(step.tokens.size(), step.kv_len.size(), step.logit_rows.size()));
  for (const auto& p : engine.target().programs)
    if (p->kind == llm::fb::ProgramKind::forward && BucketKey{p->tokens, p->seqs, p->logits} == bucket)
      return !launches.empty() && launches[0] == p->launches[0].get();
  return false;
}

}  // namespace

llm::Result<std::vector<double>> measure_rows(const std::string& plan_path, const std::vector<LaunchRow>& rows, const MeasuringOptions& options,
                                              RandomContents& contents) {
  LLM_ASSIGN(auto plan, llm::PlanFile::open(plan_path));
  llmrt::EngineOptions engine_options;
  engine_options.device.device = options.device;
  engine_options.device.target = plan->index().targets.at(0)->name;
  engine_options.contents = [&](llm::ScalarType type, bool vector) { return contents.of(type, vector); };
  engine_options.no_persistent = true;  // its launches are what is measured
  LLM_ASSIGN(auto engine, llmrt::Engine::load(plan, engine_options));
  if (!engine->note().empty()) return llm::Error{"kernels are measured on the target's own device only, where its exact code runs: " + engine->note()};
  std::map<BucketKey, std::vector<size_t>> by_bucket;
  for (size_t i = 0; i < rows.size(); ++i) by_bucket[{rows[i].tokens, rows[i].seqs, rows[i].logits}].push_back(i);
  std::vector<double> times(rows.size());
  for (const auto& [bucket, members] : by_bucket) {
    LLM_ASSIGN(llmrt::StepInput step, step_of(*engine, bucket));
    LLM_ASSIGN(const bool own, is_of_bucket(*engine, step, bucket));
    if (!own) continue;
    LLM_TRY(engine->upload_block_table(step.block_updates));
    LLM_ASSIGN(const auto whole_step, engine->profile(step, 1));  // leaves activations behind that a step makes
    for (const size_t i : members) {
      for (const size_t launch : rows[i].launches)
        if (launch >= whole_step.size()) return llm::Error{plan_path + ": the program has no launch " + std::to_string(launch)};
      LLM_ASSIGN(times[i], engine->time_in_a_row(step, rows[i].launches, options.seconds_per_kernel));
    }
  }
  return times;
}

llm::Status write_rows(const std::string& path, const std::string& first_line, const std::vector<LaunchRow>& rows) {
  std::ostringstream text;
  text << first_line << "\n";
  for (const LaunchRow& r : rows) {
    text << r.tokens << " " << r.seqs << " " << r.logits << " ";
    for (size_t i = 0; i < r.launches.size(); ++i) text << (i ? "," : "") << r.launches[i];
    text << " " << r.columns << "\n";
  }
  const std::string bytes = text.str();
  LLM_ASSIGN(auto file, llm::AtomicFile::create(path));
  LLM_TRY(file->append(std::as_bytes(std::span(bytes.data(), bytes.size()))));
  return file->commit();
}

llm::Result<RowsFile> read_rows(const std::string& path) {
  LLM_ASSIGN(const std::string bytes, llm::read_text_file(path));
  std::istringstream text(bytes);
  RowsFile file;
  std::getline(text, file.first_line);
  size_t number = 1;
  for (std::string line; std::getline(text, line);) {
    ++number;
    std::istringstream words(line);
    LaunchRow row;
    std::string list;
    words >> row.tokens >> row.seqs >> row.logits >> list >> std::ws;
    std::getline(words, row.columns);
    std::istringstream positions(list);
    for (size_t position; positions >> position; positions.ignore(1, ',')) row.launches.push_back(position);
    if (row.tokens == 0 || row.seqs == 0 || row.launches.empty() || row.columns.empty())
      return llm::Error{path + ", line " + std::to_string(number) + ": expected 'tokens sequences logits launch,launch,... columns'; found '" + line + "'"};
    file.rows.push_back(std::move(row));
  }
  return file;
}

}  // namespace llmc
