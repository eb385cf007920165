#include "runtime/scheduler.h"

#include <algorithm>

namespace llmrt {
namespace {

constexpr uint64_t kBlocksAhead = 16;  // of every KV group, that a decoding sequence takes when it needs one

}  // namespace

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
      return llm::Error{"token id " + std::to_string(id) + " is outside of the vocabulary of " +
                        std::to_string(engine_.plan().model->vocab)};
  const uint64_t capacity = std::min(limits.max_context, kv_.total_blocks() * limits.block_tokens);
  if (r.prompt.size() >= capacity)
    return llm::Error{"the prompt of " + std::to_string(r.prompt.size()) + " tokens does not fit into the context of " +
                      std::to_string(capacity) + " tokens; compile with a larger --max-context"};
  if (r.sampling.top_logprobs > llm_abi::kMaxTopLogprobs)
    return llm::Error{"at most " + std::to_string(llm_abi::kMaxTopLogprobs) +
                      " alternatives can be reported per token"};
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

llm::Status Scheduler::set_mask(uint64_t id, std::vector<uint32_t> mask) {
  const std::string name = "request " + std::to_string(id);
  Sequence* s = find(id);
  for (Sequence& w : waiting_)
    if (w.id == id) s = &w;
  if (!s) return llm::Error{name + " is finished or was never submitted"};
  if (!s->options.masked) return llm::Error{name + " was not submitted as masked"};
  if (s->scheduled > s->outputs.size())
    return llm::Error{"the next token of " + name + " is being computed already: poll for it first"};
  const uint64_t words = engine_.plan().limits->mask_words, vocab = engine_.plan().model->vocab;
  if (mask.size() != words)
    return llm::Error{"the mask has " + std::to_string(mask.size()) + " words; a vocabulary of " +
                      std::to_string(vocab) + " ids takes " + std::to_string(words)};
  if (!allows_any(mask, vocab)) return llm::Error{"the mask of " + name + " allows no id"};
  s->mask = std::move(mask);
  return {};
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
  p.flags = (o.logprobs ? llm_abi::kSampleLogprobs : 0) | (s.options.masked ? llm_abi::kSampleMask : 0);
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
    else  // still on the device, whether or not the host knows it too
      token = s.last_step == steps_ ? -1 - s.last_row : s.outputs[position - prompt];
    input_.tokens.push_back(token);
    input_.positions.push_back(static_cast<int32_t>(position));
    input_.kv_index.push_back(static_cast<int32_t>(position));
    input_.token_seq.push_back(row);
  }
  s.computed += count;
  input_.query_start.push_back(static_cast<int32_t>(input_.tokens.size()));
  input_.kv_len.push_back(static_cast<int32_t>(s.computed));
  if (s.computed >= prompt) add_row(s, flight);
}

// A logit row for the sequence whose tokens were added last.
void Scheduler::add_row(Sequence& s, InFlight& flight) {
  const auto token_row = static_cast<int32_t>(input_.tokens.size()) - 1;
  s.last_row = static_cast<int32_t>(input_.logit_rows.size());
  s.last_step = steps_ + 1;
  input_.logit_rows.push_back(token_row);
  input_.sampling.push_back(sample_params(s, token_row, s.computed));
  if (s.options.masked) {
    const uint64_t words = engine_.plan().limits->mask_words;
    input_.mask.resize(static_cast<size_t>(s.last_row) * words);  // rows without a mask do not read theirs
    input_.mask.insert(input_.mask.end(), s.mask.begin(), s.mask.end());
    s.mask.clear();
  }
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
  const auto lacks_mask = [](const Sequence& s) { return s.options.masked && s.mask.empty(); };
  // Decodes first: they are short and somebody is reading along. Every decoding sequence takes part in every step, but
  // for those that wait for a mask, whose last token the host knows.
  for (Sequence& s : running_) {
    if (s.finished || s.computed < s.options.prompt.size() || s.scheduled >= s.max_tokens || lacks_mask(s)) continue;
    add_tokens(s, 1, next_);
    --budget;
  }
  for (Sequence& s : running_) {
    if (s.finished || s.computed >= s.options.prompt.size() || budget == 0) continue;
    // The last token of a prompt samples: without a mask it waits.
    const uint64_t chunk = std::min<uint64_t>(budget, s.options.prompt.size() - s.computed - lacks_mask(s));
    if (chunk == 0) continue;
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
  if (!input_.mask.empty()) input_.mask.resize(input_.logit_rows.size() * limits.mask_words);
  reserve_ahead();
  return true;
}

// Gives the sequences that took a block in this step further ones, as far as they may need them and the step can carry
// the updates: most steps then change no block table, and the device can make them from the last.
void Scheduler::reserve_ahead() {
  auto& updates = input_.block_updates;
  const auto& limits = *engine_.plan().limits;
  const size_t needed = updates.size(), groups = engine_.plan().kv_groups.size();
  for (size_t i = 0; i < needed && updates.size() + groups * kBlocksAhead <= limits.max_block_updates; ++i)
    for (const Sequence& s : running_) {
      if (s.finished || s.slot != updates[i].slot || s.computed < s.options.prompt.size()) continue;
      const uint64_t longest = s.options.prompt.size() + s.max_tokens;
      kv_.reserve(s.slot, std::min(longest, s.computed + kBlocksAhead * limits.block_tokens), updates);
    }
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
  waits_for_masks_ = in_flight_.empty() && (!running_.empty() || !waiting_.empty());
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
