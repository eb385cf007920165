// Requests to steps: continuous batching of prefill chunks beside decodes. The host prepares step n+1 while step n
// runs; a decoding sequence's next token is then "what row j of the last step sampled", so no step waits for the host.
// While the same sequences decode and nothing else happens, the device makes each step's input from the last one's
// (Engine::submit), for which KV blocks are taken some steps ahead.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "runtime/engine.h"
#include "runtime/kv_cache.h"

namespace llmrt {

struct SamplingOptions {
  float temperature = 0;
  int32_t top_k = 0;
  float top_p = 1, min_p = 0;
  float repetition_penalty = 1, presence_penalty = 0, frequency_penalty = 0;
  uint64_t seed = 0;
  bool logprobs = false;
  int32_t top_logprobs = 0;
  std::vector<llm_abi::BiasPair> bias;
};

struct RequestOptions {
  std::vector<int32_t> prompt;
  uint64_t max_tokens = 0;        // 0: as many as the context holds
  std::vector<int32_t> stop_ids;  // end of sequence; the id itself is reported, then the request is finished
  SamplingOptions sampling;
  bool masked = false;  // every token waits for set_mask
};

enum class FinishReason { kNone, kStop, kLength, kCancelled };

struct TokenEvent {
  uint64_t request = 0;
  llm_abi::SampleOut sample{};  // sample.id < 0 if the event carries no token
  FinishReason finish = FinishReason::kNone;
};

class Scheduler {
 public:
  explicit Scheduler(Engine& engine);

  // Errors: empty prompt, ids outside of the vocabulary, a prompt that cannot fit.
  llm::Result<uint64_t> submit(RequestOptions request);
  void cancel(uint64_t request);
  // The vocabulary mask of the next token of a masked request: [mask_words], bit id % 32 of word id / 32 set where the
  // id is allowed. A second mask before the first was used replaces it. Errors: no such request, one that is not masked
  // or whose next token is being computed with an earlier mask, a mask of another length, or one that allows no id.
  llm::Status set_mask(uint64_t request, std::vector<uint32_t> mask);

  // Queues what can be queued and collects what has finished, appending events; waits for a step only if `wait` and
  // nothing else can be done. True while there are unfinished requests.
  llm::Result<bool> turn(bool wait, std::vector<TokenEvent>& events);

  // Whether the last turn found nothing to run but requests that wait for a mask (or for the room that these hold).
  bool waits_for_masks() const { return waits_for_masks_; }

  uint64_t steps() const { return steps_; }

 private:
  struct Sequence {
    uint64_t id = 0;
    RequestOptions options;
    int32_t slot = -1;
    uint64_t computed = 0;   // tokens whose KV entries are written by submitted steps
    uint64_t scheduled = 0;  // samples of submitted steps
    std::vector<int32_t> outputs;
    uint64_t max_tokens = 0;
    int32_t last_row = -1;       // logit row in the step of number last_step
    uint64_t last_step = 0;      // counted from 1
    std::vector<uint32_t> mask;  // of the next token; empty: none yet
    bool finished = false;
  };
  struct InFlight {
    uint32_t step;
    std::vector<std::pair<uint64_t, int32_t>> rows;  // request, logit row
  };

  void admit();
  bool build_step();
  void add_tokens(Sequence& s, uint64_t count, InFlight& flight);
  void add_row(Sequence& s, InFlight& flight);
  void reserve_ahead();
  llm_abi::SampleParams sample_params(const Sequence& s, int32_t token_row, uint64_t position);
  void collect(std::vector<TokenEvent>& events);
  void finish(Sequence& s, FinishReason reason, TokenEvent& event);
  Sequence* find(uint64_t id);

  Engine& engine_;
  KvCache kv_;
  size_t max_in_flight_;
  std::deque<Sequence> waiting_;
  std::vector<Sequence> running_;
  std::vector<int32_t> free_slots_;
  std::deque<InFlight> in_flight_;
  std::vector<TokenEvent> pending_events_;
  StepInput input_;
  InFlight next_;
  uint64_t reserved_blocks_ = 0;  // that admitted sequences may still take
  uint64_t next_id_ = 1;
  uint64_t steps_ = 0;
  bool waits_for_masks_ = false;
};

}  // namespace llmrt
