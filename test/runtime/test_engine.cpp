#include "test/runtime/test_engine.h"

#include <algorithm>
#include <map>

namespace llmrt_test {

llm::Result<std::unique_ptr<TestEngine>> TestEngine::open(const EngineSpec& spec) {
  llmrt_options options{};
  options.size = sizeof options;
  options.plan = spec.plan.c_str();
  options.model_dir = spec.model_dir.empty() ? nullptr : spec.model_dir.c_str();
  options.device = spec.device.c_str();
  options.target = spec.target.empty() ? nullptr : spec.target.c_str();
  options.force_ptx = spec.force_ptx;
  options.threads = spec.threads;
  options.no_graphs = spec.no_graphs;
  std::unique_ptr<TestEngine> opened(new TestEngine);
  char* error = nullptr;
  if (llmrt_open(&options, &opened->engine_, &error) != 0) {
    llm::Error failure{error ? error : "out of host memory"};
    llmrt_free(error);
    return failure;
  }
  opened->info_.size = sizeof opened->info_;
  LLM_TRY(opened->check(llmrt_get_info(opened->engine_, &opened->info_)));
  return opened;
}

llm::Result<std::vector<float>> TestEngine::step(const std::vector<StepSequence>& sequences) {
  std::vector<int32_t> ids, positions, query_start = {0}, slots, rows, reset;
  for (const StepSequence& s : sequences) {
    const auto first_row = static_cast<int32_t>(ids.size());
    for (size_t i = 0; i < s.ids.size(); ++i) positions.push_back(s.first_position + static_cast<int32_t>(i));
    ids.insert(ids.end(), s.ids.begin(), s.ids.end());
    query_start.push_back(static_cast<int32_t>(ids.size()));
    slots.push_back(s.slot);
    reset.push_back(s.reset.value_or(s.first_position == 0));
    for (int32_t row : s.logit_rows) rows.push_back(first_row + row);
  }
  llmrt_step step{};
  step.size = sizeof step;
  step.tokens = ids.size(), step.seqs = sequences.size(), step.logits = rows.size();
  step.token_ids = ids.data(), step.positions = positions.data(), step.query_start = query_start.data();
  step.slots = slots.data(), step.logit_rows = rows.data(), step.reset = reset.data();
  uint32_t number;
  LLM_TRY(check(llmrt_step_submit(engine_, &step, &number)));
  std::vector<float> logits(rows.size() * info_.vocab);
  LLM_TRY(check(llmrt_step_logits(engine_, logits.data(), rows.size())));
  return logits;
}

llm::Result<std::vector<float>> TestEngine::score(const std::vector<int32_t>& ids, size_t chunk, int32_t slot) {
  if (ids.size() > info_.max_context)
    return llm::Error{std::to_string(ids.size()) + " ids are more than the plan's context of " +
                      std::to_string(info_.max_context)};
  const size_t longest = chunk ? std::min<size_t>(chunk, info_.max_step_tokens) : info_.max_step_tokens;
  std::vector<float> logits;
  logits.reserve(ids.size() * info_.vocab);
  for (size_t begin = 0; begin < ids.size(); begin += longest) {
    const size_t tokens = std::min(longest, ids.size() - begin);
    StepSequence s;
    s.slot = slot, s.first_position = static_cast<int32_t>(begin);
    s.ids.assign(ids.begin() + static_cast<int64_t>(begin), ids.begin() + static_cast<int64_t>(begin + tokens));
    for (size_t row = 0; row < tokens; row += info_.max_logits) {
      s.logit_rows.clear();
      for (size_t r = row; r < std::min<size_t>(row + info_.max_logits, tokens); ++r)
        s.logit_rows.push_back(static_cast<int32_t>(r));
      s.reset = begin == 0 && row == 0;
      LLM_ASSIGN(const std::vector<float> part, step({s}));
      logits.insert(logits.end(), part.begin(), part.end());
    }
  }
  return logits;
}

llm::Result<std::vector<std::vector<int32_t>>> TestEngine::generate(const std::vector<std::vector<int32_t>>& prompts,
                                                                    uint64_t max_tokens) {
  std::map<uint64_t, size_t> index;
  for (size_t i = 0; i < prompts.size(); ++i) {
    llmrt_request r;
    llmrt_request_init(&r);
    r.prompt = prompts[i].data(), r.prompt_tokens = prompts[i].size(), r.max_tokens = max_tokens;
    uint64_t id;
    LLM_TRY(check(llmrt_submit(engine_, &r, &id)));
    index[id] = i;
  }
  std::vector<std::vector<int32_t>> outputs(prompts.size());
  for (int active = 1; active;) {
    const llmrt_event* events;
    size_t count;
    LLM_TRY(check(llmrt_poll(engine_, 1, &events, &count, &active)));
    for (size_t i = 0; i < count; ++i) outputs[index[events[i].request]].push_back(events[i].id);
  }
  return outputs;
}

}  // namespace llmrt_test
