// llmrt score: teacher-forced logits of every position.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "plan/mapped_file.h"
#include "runtime/commands/npy.h"
#include "runtime/commands/session.h"

namespace llmrt::commands {
namespace {

struct ScoreOptions {
  SessionOptions session;
  std::string ids, output;
  size_t chunk = 0;
};

llm::Result<std::vector<int32_t>> read_ids(const std::string& path) {
  LLM_ASSIGN(const std::string text, llm::read_text_file(path));
  const auto json = nlohmann::json::parse(text, nullptr, false);
  const auto& list = json.is_object() && json.contains("ids") ? json["ids"] : json;
  if (!list.is_array() || list.empty()) return llm::Error{"'" + path + "' is not a JSON list of token ids"};
  std::vector<int32_t> ids;
  for (const auto& id : list) {
    if (!id.is_number_integer()) return llm::Error{"'" + path + "' holds something that is not a token id: " + id.dump()};
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

llm::Status score(const ScoreOptions& o) {
  LLM_ASSIGN(const std::vector<int32_t> ids, read_ids(o.ids));
  LLM_ASSIGN(auto session, Session::open(o.session));
  const llmrt_info& info = session->info();
  if (ids.size() > info.max_context)
    return llm::Error{std::to_string(ids.size()) + " ids do not fit into the context of " + std::to_string(info.max_context) + " tokens"};
  const size_t chunk = std::min<size_t>(o.chunk ? o.chunk : info.max_step_tokens, info.max_step_tokens);
  std::vector<float> logits(ids.size() * info.vocab);
  std::vector<int32_t> positions, rows;
  // A chunk is run once for every max_logits of its rows: writing the same KV entries again changes nothing.
  for (size_t begin = 0; begin < ids.size(); begin += chunk) {
    const size_t tokens = std::min(chunk, ids.size() - begin);
    positions.resize(tokens);
    for (size_t i = 0; i < tokens; ++i) positions[i] = static_cast<int32_t>(begin + i);
    for (size_t first = 0; first < tokens; first += info.max_logits) {
      rows.clear();
      for (size_t r = first; r < std::min<size_t>(first + info.max_logits, tokens); ++r) rows.push_back(static_cast<int32_t>(r));
      const int32_t query_start[2] = {0, static_cast<int32_t>(tokens)}, slot = 0, reset = begin == 0 && first == 0;
      llmrt_step step{};
      step.size = sizeof step;
      step.tokens = tokens, step.seqs = 1, step.logits = rows.size();
      step.token_ids = ids.data() + begin, step.positions = positions.data(), step.query_start = query_start;
      step.slots = &slot, step.logit_rows = rows.data(), step.reset = &reset;
      uint32_t number;
      LLM_TRY(session->check(llmrt_step_submit(session->engine(), &step, &number)));
      LLM_TRY(session->check(llmrt_step_logits(session->engine(), logits.data() + (begin + first) * info.vocab, rows.size())));
    }
  }
  return write_npy(o.output, logits, ids.size(), info.vocab);
}

}  // namespace

Verb add_score(CLI::App& app) {
  auto o = std::make_shared<ScoreOptions>();
  CLI::App* c = app.add_subcommand("score", "Write the teacher-forced logits [positions, vocab] of a list of ids");
  c->footer("Example:\n  llmrt score plan.fb --ids ids.json -o logits.npy");
  o->session.add(*c);
  c->add_option("--ids", o->ids, "JSON list of token ids")->required();
  c->add_option("-o,--output", o->output, "NumPy file to write")->required();
  c->add_option("--chunk", o->chunk, "Tokens per step (default: the plan's max-step-tokens; 1: decode steps)");
  return [o] { return score(*o); };
}

}  // namespace llmrt::commands
