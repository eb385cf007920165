// llmrt.h on top of Engine and Scheduler. No exception crosses this file.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <new>
#include <span>
#include <string>

#include "plan/key_file.h"
#include "plan/plan_tensors.h"
#include "runtime/engine.h"
#include "runtime/llmrt.h"
#include "runtime/scheduler.h"
#include "runtime/uniform_step.h"

struct llmrt_engine {
  std::unique_ptr<llmrt::Engine> engine;
  std::unique_ptr<llmrt::Scheduler> scheduler;  // of the request level, made at the first request
  std::unique_ptr<llmrt::KvCache> step_kv;      // of the step level
  std::string error;
  double plan_s = 0;  // opening and checking the plan
  std::vector<llmrt::TokenEvent> token_events;
  std::vector<llmrt_event> events;
  std::map<std::string, std::vector<std::byte>> text;
  std::vector<llmrt_launch_time> times;
  llmrt::StepInput input;
};

namespace {

std::string text_or(const char* text, const char* fallback) { return text ? text : fallback; }

char* copy_text(const std::string& text) {
  char* copy = static_cast<char*>(std::malloc(text.size() + 1));
  if (copy) std::memcpy(copy, text.c_str(), text.size() + 1);
  return copy;
}

// Runs a body that returns a Status, and turns what goes wrong into the engine's error.
template <typename Body>
int guarded(llmrt_engine* e, Body body) {
  if (!e) return 1;
  try {
    llm::Status status = body();
    if (status.ok()) return 0;
    e->error = status.error().message;
  } catch (const std::bad_alloc&) {
    e->error = "out of host memory";
  } catch (...) {
    e->error = "internal error";
  }
  return 1;
}

// The caller's struct, with `neutral` in the fields that its version did not have.
template <typename Struct>
Struct as_given(const Struct& given, Struct neutral) {
  std::memcpy(&neutral, &given, std::min(given.size, sizeof neutral));
  return neutral;
}

// A uniform step: evaluates the linear cost functions of a launch.
struct StepSize {
  size_t tokens, seqs, context;

  double bytes(const llm::fb::Cost& c) const { return at(c, static_cast<double>(seqs * (context + tokens))); }
  double flops(const llm::fb::Cost& c) const {
    return at(
        c, static_cast<double>(seqs * tokens) * (static_cast<double>(context) + static_cast<double>(tokens + 1) / 2));
  }

 private:
  double at(const llm::fb::Cost& c, double kv) const {
    const auto n = static_cast<double>(seqs);
    return c.constant() + c.tokens() * n * static_cast<double>(tokens) + c.seqs() * n + c.logits() * n + c.kv() * kv;
  }
};

llm::Result<std::unique_ptr<llmrt_engine>> open_engine(const llmrt_options& given) {
  const llmrt_options o = as_given(given, {});
  if (!o.plan) return llm::Error{"no plan was named"};
  std::vector<llm::PublicKey> trusted;
  for (size_t i = 0; i < o.trusted_key_count; ++i) {
    LLM_ASSIGN(const llm::PublicKey key, llm::read_public_key(text_or(o.trusted_keys[i], "")));
    trusted.push_back(key);
  }
  const llmrt::Stopwatch opening;
  LLM_ASSIGN(auto plan, llm::PlanFile::open(o.plan, trusted));
  const double plan_s = opening.seconds();
  llmrt::EngineOptions options;
  options.device = {text_or(o.device, "auto"), text_or(o.target, ""), o.force_ptx != 0, o.threads,
                    o.separate_allocations != 0};
  options.model_dir = text_or(o.model_dir, "");
  options.kv_limit = o.kv_bytes;
  options.info_only = o.info_only != 0;
  options.no_graphs = o.no_graphs != 0;
  options.no_advance = o.no_advance != 0;
  options.no_persistent = o.no_persistent != 0;
  auto e = std::make_unique<llmrt_engine>();
  e->plan_s = plan_s;
  LLM_ASSIGN(e->engine, llmrt::Engine::load(std::move(plan), options));
  return e;
}

}  // namespace

extern "C" {

int llmrt_open(const llmrt_options* options, llmrt_engine** engine, char** error) {
  *engine = nullptr;
  std::string message;
  try {
    auto opened = open_engine(*options);
    if (opened.ok()) {
      *engine = opened->release();
      return 0;
    }
    message = opened.error().message;
  } catch (const std::bad_alloc&) {
    message = "out of host memory";
  } catch (...) {
    message = "internal error";
  }
  if (error) *error = copy_text(message);
  return 1;
}

void llmrt_close(llmrt_engine* engine) { delete engine; }
void llmrt_free(char* text) { std::free(text); }
const char* llmrt_error(const llmrt_engine* engine) { return engine->error.c_str(); }

int llmrt_get_info(const llmrt_engine* e, llmrt_info* info) {
  const llm::fb::PlanT& plan = e->engine->plan();
  const llmrt::MemoryTable& m = e->engine->memory();
  llmrt_info i{};
  i.size = sizeof i;
  i.model = plan.model->name.c_str();
  i.target = e->engine->target().name.c_str();
  i.device = e->engine->device_info().name.c_str();
  i.note = e->engine->note().c_str();
  i.vocab = plan.model->vocab, i.layers = plan.model->layers, i.hidden = plan.model->hidden;
  i.max_context = plan.limits->max_context, i.max_batch = plan.limits->max_batch;
  i.max_step_tokens = plan.limits->max_step_tokens, i.max_logits = plan.limits->max_logits;
  i.weight_bytes = m.weights, i.mapped_weight_bytes = m.mapped_weights, i.activation_bytes = m.activations,
  i.state_bytes = m.state;
  i.io_bytes = m.io, i.kv_bytes = m.kv, i.kv_bytes_per_token = m.kv_bytes_per_token, i.total_bytes = m.total,
  i.free_bytes = m.device_free;
  i.kv_tokens = m.kv_blocks * plan.limits->block_tokens;
  i.fitting_tokens = m.fitting_tokens;
  i.fits = m.fits;
  i.mask_words = plan.limits->mask_words;
  i.kv_dtype = plan.kv_groups.empty() ? "" : llm::dtype_name(plan.kv_groups[0]->dtype);  // llmc gives all the same
  std::memcpy(info, &i, std::min(info->size, sizeof i));
  return 0;
}

int llmrt_get_load_times(const llmrt_engine* e, llmrt_load_times* times) {
  const llmrt::LoadTimes& l = e->engine->load_times();
  llmrt_load_times t{};
  t.size = sizeof t;
  t.plan_s = e->plan_s, t.device_s = l.device_s, t.memory_s = l.memory_s, t.weights_s = l.weights_s;
  t.code_s = l.code_s, t.code_wait_s = l.code_wait_s, t.init_s = l.init_s, t.open_s = e->plan_s + l.total_s;
  t.graphs_s = l.graphs_s, t.weight_bytes = l.weight_bytes, t.graphs = l.graphs;
  std::memcpy(times, &t, std::min(times->size, sizeof t));
  return 0;
}

const char* llmrt_text_asset(llmrt_engine* e, const char* name, size_t* bytes) {
  e->error.clear();
  if (!e->text.count(name)) {
    for (const auto& asset : e->engine->plan().text) {
      if (asset->name != name) continue;
      auto text = e->engine->plan_file().read(asset->segment);
      if (!text) {
        e->error = text.error().message;
        return nullptr;
      }
      e->text[name] = std::move(*text);
    }
  }
  const auto it = e->text.find(name);
  if (it == e->text.end()) return nullptr;
  *bytes = it->second.size();
  return reinterpret_cast<const char*>(it->second.data());
}

void llmrt_request_init(llmrt_request* r) {
  *r = {};
  r->size = sizeof *r;
  r->top_p = 1;
  r->repetition_penalty = 1;
  r->logprobs = -1;
}

int llmrt_submit(llmrt_engine* e, const llmrt_request* request, uint64_t* id) {
  return guarded(e, [&]() -> llm::Status {
    llmrt_request neutral;
    llmrt_request_init(&neutral);
    const llmrt_request given = as_given(*request, neutral), *r = &given;
    llmrt::RequestOptions o;
    o.masked = r->masked != 0;
    o.prompt.assign(r->prompt, r->prompt + r->prompt_tokens);
    o.max_tokens = r->max_tokens;
    o.stop_ids.assign(r->stop_ids, r->stop_ids + r->stop_count);
    llmrt::SamplingOptions& s = o.sampling;
    s.temperature = r->temperature, s.top_k = r->top_k, s.top_p = r->top_p, s.min_p = r->min_p;
    s.repetition_penalty = r->repetition_penalty, s.presence_penalty = r->presence_penalty,
    s.frequency_penalty = r->frequency_penalty;
    s.seed = r->seed, s.logprobs = r->logprobs >= 0, s.top_logprobs = std::max(r->logprobs, 0);
    for (size_t i = 0; i < r->bias_count; ++i) s.bias.push_back({r->bias[i].id, r->bias[i].bias});
    if (!e->scheduler) e->scheduler = std::make_unique<llmrt::Scheduler>(*e->engine);
    LLM_ASSIGN(*id, e->scheduler->submit(std::move(o)));
    return {};
  });
}

int llmrt_cancel(llmrt_engine* e, uint64_t id) {
  return guarded(e, [&]() -> llm::Status {
    if (e->scheduler) e->scheduler->cancel(id);
    return {};
  });
}

int llmrt_set_mask(llmrt_engine* e, uint64_t id, const uint32_t* mask, size_t words) {
  return guarded(e, [&]() -> llm::Status {
    if (!e->scheduler) return llm::Error{"no request was submitted yet"};
    return e->scheduler->set_mask(id, {mask, mask + words});
  });
}

int llmrt_poll(llmrt_engine* e, int wait, const llmrt_event** events, size_t* count, int* active) {
  *events = nullptr, *count = 0, *active = 0;
  return guarded(e, [&]() -> llm::Status {
    if (!e->scheduler) return {};
    e->token_events.clear();
    bool more = true;
    do {
      LLM_ASSIGN(more, e->scheduler->turn(wait != 0, e->token_events));
    } while (wait && more && e->token_events.empty() && !e->scheduler->waits_for_masks());
    e->events.clear();
    for (const llmrt::TokenEvent& t : e->token_events)
      e->events.push_back({t.request, t.sample.id, static_cast<int32_t>(t.finish), t.sample.logprob,
                           t.sample.id < 0 ? 0 : t.sample.count, t.sample.top_id, t.sample.top_logprob});
    *events = e->events.data(), *count = e->events.size(), *active = more;
    return {};
  });
}

int llmrt_step_submit(llmrt_engine* e, const llmrt_step* step, uint32_t* number) {
  return guarded(e, [&]() -> llm::Status {
    const llmrt_step given = as_given(*step, {}), *s = &given;
    if (!e->step_kv) e->step_kv = std::make_unique<llmrt::KvCache>(e->engine->plan(), e->engine->memory().kv_blocks);
    llmrt::StepInput& in = e->input;
    in.clear();
    in.tokens.assign(s->token_ids, s->token_ids + s->tokens);
    in.positions.assign(s->positions, s->positions + s->tokens);
    in.kv_index = in.positions;
    in.query_start.assign(s->query_start, s->query_start + s->seqs + 1);
    in.seq_slot.assign(s->slots, s->slots + s->seqs);
    in.logit_rows.assign(s->logit_rows, s->logit_rows + s->logits);
    for (size_t i = 0; i < s->seqs; ++i) {
      const int32_t begin = in.query_start[i], end = in.query_start[i + 1];
      if (begin < 0 || end <= begin || static_cast<size_t>(end) > s->tokens)
        return llm::Error{"query_start must grow within the step's tokens"};
      if (in.seq_slot[i] < 0 || static_cast<uint64_t>(in.seq_slot[i]) >= e->engine->plan().limits->max_batch)
        return llm::Error{"sequence slot " + std::to_string(in.seq_slot[i]) + " is out of range"};
      const bool reset = s->reset ? s->reset[i] != 0 : in.positions[static_cast<size_t>(begin)] == 0;
      if (reset) e->step_kv->release(in.seq_slot[i]);
      in.seq_flags.push_back(reset ? llm_abi::kSeqReset : 0);
      in.kv_len.push_back(in.positions[static_cast<size_t>(end) - 1] + 1);
      for (int32_t t = begin; t < end; ++t) in.token_seq.push_back(static_cast<int32_t>(i));
      if (!e->step_kv->reserve(in.seq_slot[i], static_cast<uint64_t>(in.kv_len.back()), in.block_updates))
        return llm::Error{"the KV cache is full"};
    }
    if (s->mask && !s->greedy) return llm::Error{"a mask is only for steps that pick ids (greedy)"};
    for (size_t i = 0; s->greedy && i < s->logits; ++i) {
      llm_abi::SampleParams p{};
      p.repetition_penalty = 1, p.top_p = 1, p.slot = -1;  // no slot: nothing is counted
      p.flags = s->mask ? llm_abi::kSampleMask : 0;
      p.token_row = in.logit_rows[i];
      if (p.token_row >= 0 && static_cast<size_t>(p.token_row) < s->tokens)
        p.position = in.positions[static_cast<size_t>(p.token_row)] + 1;
      in.sampling.push_back(p);
    }
    const size_t words = e->engine->plan().limits->mask_words;
    if (s->mask) in.mask.assign(s->mask, s->mask + s->logits * words);
    for (size_t i = 0; s->mask && i < s->logits; ++i)
      if (!llmrt::allows_any(std::span(in.mask).subspan(i * words, words), e->engine->plan().model->vocab))
        return llm::Error{"the mask of logit row " + std::to_string(i) + " allows no id"};
    LLM_ASSIGN(*number, e->engine->submit(in));
    return {};
  });
}

int llmrt_step_ids(llmrt_engine* e, uint32_t number, int32_t* ids, size_t rows) {
  return guarded(e, [&]() -> llm::Status {
    if (rows > e->engine->plan().limits->max_logits) return llm::Error{"more rows than a step can have"};
    LLM_TRY(e->engine->wait(number));
    const auto samples = e->engine->samples(number);
    for (size_t i = 0; i < rows; ++i) ids[i] = samples[i].id;
    return {};
  });
}

int llmrt_step_done(llmrt_engine* e, uint32_t number, int* done) {
  return guarded(e, [&]() -> llm::Status {
    LLM_ASSIGN(const bool finished, e->engine->finished(number));
    *done = finished;
    return {};
  });
}

int llmrt_step_logits(llmrt_engine* e, float* logits, size_t rows) {
  return guarded(e, [&] { return e->engine->read_logits({logits, rows * e->engine->plan().model->vocab}); });
}

int llmrt_step_hidden(llmrt_engine* e, float* hidden, size_t rows) {
  return guarded(e, [&] { return e->engine->read_hidden({hidden, rows * e->engine->plan().model->hidden}); });
}

int llmrt_bandwidth(llmrt_engine* e, double* gb_per_s) {
  return guarded(e, [&]() -> llm::Status {
    LLM_ASSIGN(*gb_per_s, e->engine->measure_bandwidth());
    return {};
  });
}

int llmrt_step_cost(llmrt_engine* e, size_t tokens, size_t seqs, size_t context, double* bytes, double* flops) {
  return guarded(e, [&]() -> llm::Status {
    *bytes = *flops = 0;
    LLM_ASSIGN(const auto launches, e->engine->forward_launches(tokens * seqs, seqs, seqs));
    const StepSize size{tokens, seqs, context};
    for (const llm::fb::LaunchT* l : launches) *bytes += size.bytes(*l->bytes), *flops += size.flops(*l->flops);
    return {};
  });
}

int llmrt_profile(llmrt_engine* e, size_t tokens, size_t seqs, size_t context, int repeats,
                  const llmrt_launch_time** times, size_t* count) {
  return guarded(e, [&]() -> llm::Status {
    LLM_ASSIGN(llmrt::StepInput in,
               llmrt::uniform_step(e->engine->plan(), e->engine->memory().kv_blocks, tokens, seqs, context));
    LLM_TRY(e->engine->upload_block_table(in.block_updates));
    LLM_ASSIGN(const auto launches, e->engine->profile(in, repeats));
    e->times.clear();
    const StepSize size{tokens, seqs, context};
    for (const auto& l : launches)
      e->times.push_back({l.launch->op.c_str(), l.launch->layer.c_str(),
                          l.launch->external ? "cublas" : e->engine->target().kernels[l.kernel]->name.c_str(),
                          l.microseconds, size.bytes(*l.launch->bytes), size.flops(*l.launch->flops)});
    *times = e->times.data(), *count = e->times.size();
    return {};
  });
}

}  // extern "C"
