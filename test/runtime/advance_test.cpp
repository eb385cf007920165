// Steps that the device makes from the last one: the same bits as with every step uploaded, and few uploads.
#include <gtest/gtest.h>

#include <cstring>

#include "test/runtime/scheduler_fixture.h"

namespace llmrt_test {
namespace {

using llmrt::RequestOptions;
using llmrt::TokenEvent;

class AdvanceTest : public SchedulerTest {
 protected:
  // Greedy and sampled requests of all lengths, penalties, biases, log-probabilities, stop ids.
  static std::vector<RequestOptions> mixed_requests() {
    std::vector<RequestOptions> requests;
    for (int32_t i = 0; i < 24; ++i) {
      RequestOptions r = request(i, 1 + static_cast<size_t>(i * 13 % 50), 5 + static_cast<uint64_t>(i * 17 % 90));
      llmrt::SamplingOptions& s = r.sampling;
      if (i % 2) s.temperature = 0.9f, s.top_p = 0.95f, s.seed = static_cast<uint64_t>(i);
      if (i % 3 == 0) s.repetition_penalty = 1.2f, s.presence_penalty = 0.3f, s.frequency_penalty = 0.1f;
      if (i % 4 == 0) s.bias = {{7, 1.5f}, {90, -3.0f}};
      if (i % 5 == 0) s.logprobs = true, s.top_logprobs = 3;
      if (i % 6 == 1) r.stop_ids = {11, 42, 77, 103};
      requests.push_back(r);
    }
    return requests;
  }

  // Events of requests that arrive at fixed turns.
  std::map<uint64_t, std::vector<TokenEvent>> run_mixed() {
    std::map<uint64_t, std::vector<TokenEvent>> events;
    const auto requests = mixed_requests();
    size_t next = 0;
    bool more = true;
    for (int turns = 0; more || next < requests.size(); ++turns) {
      if (turns % 7 == 0 && next < requests.size()) {
        submit(requests[next++]);
        if (next < requests.size() && turns % 2) submit(requests[next++]);
      }
      std::vector<TokenEvent> now;
      const auto turned = scheduler_->turn(true, now);
      EXPECT_TRUE(turned);
      more = turned && *turned;
      for (const TokenEvent& e : now) events[e.request].push_back(e);
      EXPECT_LT(turns, 10000);
      if (turns >= 10000) break;
    }
    return events;
  }
};

TEST_F(AdvanceTest, RequestsGiveTheSameBits) {
  const auto with = run_mixed();
  const uint64_t steps = scheduler_->steps(), uploads = engine_->uploads();
  load(0, /*no_advance=*/true);
  const auto without = run_mixed();
  EXPECT_EQ(engine_->uploads(), scheduler_->steps());
  EXPECT_LT(uploads, steps * 3 / 4) << "hardly a step was made on the device";
  ASSERT_EQ(with.size(), mixed_requests().size());
  for (const auto& [id, events] : with) {
    const auto& others = without.at(id);
    ASSERT_EQ(events.size(), others.size()) << "request " << id;
    for (size_t i = 0; i < events.size(); ++i) {
      EXPECT_EQ(events[i].finish, others[i].finish);
      const llm_abi::SampleOut &a = events[i].sample, &b = others[i].sample;
      EXPECT_EQ(a.id, b.id) << "request " << id << ", token " << i;
      EXPECT_EQ(std::memcmp(&a.logprob, &b.logprob, sizeof a.logprob), 0);
      ASSERT_EQ(a.count, b.count);
      for (int32_t k = 0; k < a.count; ++k) {
        EXPECT_EQ(a.top_id[k], b.top_id[k]);
        EXPECT_EQ(a.top_logprob[k], b.top_logprob[k]);
      }
    }
  }
}

// Decoding alone uploads the prefill, the step behind it, and one step in every so many KV blocks.
TEST_F(AdvanceTest, DecodingNeedsFewUploads) {
  const uint64_t tokens = max_context() - 8;
  for (uint64_t i = 0; i < max_batch(); ++i) submit(request(static_cast<int32_t>(i), 4, tokens));
  finish_all();
  EXPECT_GE(scheduler_->steps(), tokens);
  EXPECT_LE(engine_->uploads(), 3 + tokens / engine_->plan().limits->block_tokens / 4);
}

// The step level: a greedy loop of two sequences whose logits are read at every step.
TEST_F(AdvanceTest, LogitsOfEveryStepAreTheSameBits) {
  const auto run = [&](std::vector<std::vector<float>>& logits) {
    llmrt::KvCache kv(engine_->plan(), engine_->memory().kv_blocks);
    for (int32_t n = 0; n < 40; ++n) {
      llmrt::StepInput in;
      in.query_start = {0};
      for (int32_t s = 0; s < 2; ++s) {
        in.tokens.push_back(n == 0 ? 5 + s : -1 - s);
        in.positions.push_back(n), in.kv_index.push_back(n), in.token_seq.push_back(s);
        in.query_start.push_back(s + 1), in.kv_len.push_back(n + 1), in.logit_rows.push_back(s);
        in.seq_slot.push_back(3 - s), in.seq_flags.push_back(n == 0 ? llm_abi::kSeqReset : 0);
        llm_abi::SampleParams p{};
        p.repetition_penalty = 1, p.top_p = 1, p.slot = 3 - s, p.position = n + 1, p.token_row = s;
        in.sampling.push_back(p);
        ASSERT_TRUE(kv.reserve(3 - s, static_cast<uint64_t>(n) + 1, in.block_updates));
      }
      ASSERT_TRUE(engine_->submit(in));
      logits.emplace_back(2 * engine_->plan().model->vocab);
      ASSERT_TRUE(engine_->read_logits(logits.back()).ok());
    }
  };
  std::vector<std::vector<float>> with, without;
  run(with);
  // Step 0, and the steps that take a block: 16, 32.
  EXPECT_EQ(engine_->uploads(), 1 + 39 / engine_->plan().limits->block_tokens);
  load(0, /*no_advance=*/true);
  run(without);
  EXPECT_EQ(engine_->uploads(), 40u);
  EXPECT_EQ(with, without);
}

}  // namespace
}  // namespace llmrt_test
