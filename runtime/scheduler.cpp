#include "runtime/scheduler.h"

#include <algorithm>

namespace llmrt {

Scheduler::Scheduler(Engine& engine)
    : engine_(engine),
      kv_(engine.plan(), engine.memory().kv_blocks),
      // A synchronous device gains nothing from running ahead, and would waste a step behind every end of sequence.
      max_in_flight_(engine.device_info().host_addressable ? 1 : Engine::kIoSets) {
  for (uint64_t s = engine.plan().limits->max_batch; s-- > 0;) free_slots_.push_back(static_cast<int32_t>(s));
}

llm::Result<uint64_t> Scheduler::submit(RequestOptions r) {
  const auto& limits = *engine_.plan().limits;
  if (r.prompt.empty()) return llm::Error{"the prompt is empty"};
  for (int32_t id : r.prompt)
    if (id < 0 || id >= static_cast<int64_t>(engine_.plan().model->vocab))
      return llm::Error{"token id " + std::to_string(id) + " is outside of the vocabulary of " + std::to_string(engine_.plan().model->vocab)};
  const uint64_t capacity = std::min(limits.max_context, kv_.total_blocks() * limits.block_tokens);
  if (r.prompt.size() >= capacity)
    return llm::Error{"the prompt of " + std::to_string(r.prompt.size()) + " tokens does not fit into the context of " + std::to_string(capacity) +
                      " tokens; compile with a larger --max-context"};
  if (r.sampling.top_logprobs > llm_abi::kMaxTopLogprobs)
    return llm::Error{"at most " + std::to_string(llm_abi::kMaxTopLogprobs) + " alternatives can be reported per token"};
  Sequence s;
  s.id = next_id_++;
  s.options = std::move(r);
  const uint64_t room = capacity - s.options.prompt.size();
  s.max_tokens = s.options.max_tokens ? std::min(s.options.max_tokens, room) : room;
  waiting_.push_back(std::move(s));
  return waiting_.back().id;
}

void Scheduler::cancel(uint64_t id) {
  const auto end = [&](Sequence& s) {
    TokenEvent event{.request = id};
    event.sample.id = -1;
    finish(s, FinishReason::kCancelled, event);
    pending_events_.push_back(event);
  };
  for (auto it = waiting_.begin(); it != waiting_.end(); ++it)
    if (it->id == id) {
      end(*it);
      waiting_.erase(it);
      return;
    }
  if (Sequence* s = find(id)) end(*s);
}

Scheduler::Sequence* Scheduler::find(uint64_t id) {
  for (Sequence& s : running_)
    if (s.id == id && !s.finished) return &s;
  return nullptr;
}

// A sequence is admitted only if the blocks that it can ever need are free: nothing is preempted.
void Scheduler::admit() {
  while (!waiting_.empty() && !free_slots_.empty()) {
    Sequence& s = waiting_.front();
    const uint64_t blocks = kv_.blocks_for(s.options.prompt.size() + s.max_tokens);
    if (reserved_blocks_ + blocks > kv_.total_blocks()) return;
    reserved_blocks_ += blocks;
    s.slot = free_slots_.back();
    free_slots_.pop_back();
    running_.push_back(std::move(s));
    waiting_.pop_front();
  }
}

llm_abi::SampleParams Scheduler::sample_params(const Sequence& s, int32_t token_row, uint64_t position) {
  const SamplingOptions& o = s.options.sampling;
  llm_abi::SampleParams p{};
  p.temperature = o.temperature;
  p.top_p = o.top_p;
  p.min_p = o.min_p;
  p.repetition_penalty = o.repetition_penalty;
  p.presence_penalty = o.presence_penalty;
  p.frequency_penalty = o.frequency_penalty;
  p.top_k = o.top_k;
  p.flags = o.logprobs ? llm_abi::kSampleLogprobs : 0;
  p.seed = o.seed;
  p.position = static_cast<int32_t>(position);
  p.slot = s.slot;
  p.bias_begin = static_cast<int32_t>(input_.bias.size());
  input_.bias.insert(input_.bias.end(), o.bias.begin(), o.bias.end());
  p.bias_end = static_cast<int32_t>(input_.bias.size());
  p.top_logprobs = o.top_logprobs;
  p.token_row = token_row;
  return p;
}

// Adds `count` tokens of the sequence to the step, and a logit row if it samples from them.
void Scheduler::add_tokens(Sequence& s, uint64_t count, InFlight& flight) {
  const auto row = static_cast<int32_t>(input_.kv_len.size());
  const uint64_t prompt = s.options.prompt.size();
  input_.seq_slot.push_back(s.slot);
  input_.seq_flags.push_back(s.computed == 0 ? llm_abi::kSeqReset : 0);
  kv_.reserve(s.slot, s.computed + count, input_.block_updates);  // admitted: the blocks are there
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t position = s.computed + i;
    int32_t token;
    if (position < prompt)
      token = s.options.prompt[position];
    else
      token = position - prompt < s.outputs.size() ? s.outputs[position - prompt] : -1 - s.last_row;
    input_.tokens.push_back(token);
    input_.positions.push_back(static_cast<int32_t>(position));
    input_.kv_index.push_back(static_cast<int32_t>(position));
    input_.token_seq.push_back(row);
  }
  s.computed += count;
  input_.query_start.push_back(static_cast<int32_t>(input_.tokens.size()));
  input_.kv_len.push_back(static_cast<int32_t>(s.computed));
  if (s.computed < prompt) return;
  const auto token_row = static_cast<int32_t>(input_.tokens.size()) - 1;
  s.last_row = static_cast<int32_t>(input_.logit_rows.size());
  input_.logit_rows.push_back(token_row);
  input_.sampling.push_back(sample_params(s, token_row, s.computed));
  ++s.scheduled;
  flight.rows.push_back({s.id, s.last_row});
}

// Fills input_ and next_; false if there is nothing to run.
bool Scheduler::build_step() {
  admit();
  input_.clear();
  next_ = {};
  input_.query_start.push_back(0);
  const auto& limits = *engine_.plan().limits;
  uint64_t budget = limits.max_step_tokens;
  // Decodes first: they are short and somebody is reading along. Every decoding sequence takes part in every step, so that `last_row`
  // always refers to the last step.
  for (Sequence& s : running_) {
    if (s.finished || s.computed < s.options.prompt.size() || s.scheduled >= s.max_tokens) continue;
    add_tokens(s, 1, next_);
    --budget;
  }
  for (Sequence& s : running_) {
    if (s.finished || s.computed >= s.options.prompt.size() || budget == 0) continue;
    const uint64_t chunk = std::min<uint64_t>(budget, s.options.prompt.size() - s.computed);
    add_tokens(s, chunk, next_);
    budget -= chunk;
  }
  if (input_.tokens.empty()) return false;
  if (input_.logit_rows.empty()) {  // only the middle of a prompt: a row must be there, its sample is dropped
    input_.logit_rows.push_back(static_cast<int32_t>(input_.tokens.size()) - 1);
    llm_abi::SampleParams p{};
    p.repetition_penalty = 1, p.top_p = 1, p.slot = -1;
    input_.sampling.push_back(p);
  }
  return true;
}

void Scheduler::finish(Sequence& s, FinishReason reason, TokenEvent& event) {
  event.finish = reason;
  s.finished = true;
  if (s.slot < 0) return;
  kv_.release(s.slot);
  free_slots_.push_back(s.slot);
  reserved_blocks_ -= kv_.blocks_for(s.options.prompt.size() + s.max_tokens);
}

void Scheduler::collect(std::vector<TokenEvent>& events) {
  const InFlight flight = std::move(in_flight_.front());
  in_flight_.pop_front();
  const auto samples = engine_.samples(flight.step);
  for (const auto& [id, row] : flight.rows) {
    Sequence* s = find(id);
    if (!s) continue;  // finished or cancelled while this step ran
    TokenEvent event{.request = id, .sample = samples[static_cast<size_t>(row)]};
    s->outputs.push_back(event.sample.id);
    const auto& stops = s->options.stop_ids;
    if (std::find(stops.begin(), stops.end(), event.sample.id) != stops.end())
      finish(*s, FinishReason::kStop, event);
    else if (s->outputs.size() >= s->max_tokens)
      finish(*s, FinishReason::kLength, event);
    events.push_back(event);
  }
  std::erase_if(running_, [](const Sequence& s) { return s.finished; });
}

llm::Result<bool> Scheduler::turn(bool wait, std::vector<TokenEvent>& events) {
  events.insert(events.end(), pending_events_.begin(), pending_events_.end());
  const bool had_events = !pending_events_.empty();
  pending_events_.clear();
  std::erase_if(running_, [](const Sequence& s) { return s.finished; });
  while (in_flight_.size() < max_in_flight_ && build_step()) {
    LLM_ASSIGN(next_.step, engine_.submit(input_));
    in_flight_.push_back(std::move(next_));
    ++steps_;
  }
  while (!in_flight_.empty()) {
    LLM_ASSIGN(const bool done, engine_.finished(in_flight_.front().step));
    if (!done) {
      if (!wait || had_events || !events.empty()) break;
      LLM_TRY(engine_.wait(in_flight_.front().step));
    }
    collect(events);
    if (!events.empty()) break;  // queue the next step before reporting more
  }
  return !waiting_.empty() || !running_.empty() || !in_flight_.empty();
}

}  // namespace llmrt
