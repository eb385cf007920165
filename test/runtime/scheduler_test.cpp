// Requests to steps: admission, ends, cancelling, limits, many requests at once.
#include <gmock/gmock.h>

#include "test/runtime/scheduler_fixture.h"

namespace llmrt_test {
namespace {

using llmrt::FinishReason;
using llmrt::RequestOptions;
using testing::HasSubstr;

TEST_F(SchedulerTest, MaxTokensEndARequest) {
  const uint64_t a = submit(request(1, 5, 1)), b = submit(request(2, 9, 13));
  finish_all();
  EXPECT_EQ(outcomes_[a].ids.size(), 1u);
  EXPECT_EQ(outcomes_[b].ids.size(), 13u);
  EXPECT_EQ(outcomes_[a].finish, FinishReason::kLength);
  EXPECT_EQ(outcomes_[b].finish, FinishReason::kLength);
}

TEST_F(SchedulerTest, StopIdEndsARequestAndIsReported) {
  const std::vector<int32_t> free_running = alone(request(3, 8, 20));
  RequestOptions r = request(3, 8, 20);
  r.stop_ids = {-1, free_running[6]};
  const uint64_t id = submit(r);
  finish_all();
  const auto first = std::find(free_running.begin(), free_running.end(), free_running[6]);
  EXPECT_EQ(outcomes_[id].ids, std::vector<int32_t>(free_running.begin(), first + 1));
  EXPECT_EQ(outcomes_[id].finish, FinishReason::kStop);
}

TEST_F(SchedulerTest, ContextEndsARequest) {
  const uint64_t id = submit(request(4, max_context() - 10, 0)), longer = submit(request(5, max_context() - 4, 1000));
  finish_all();
  EXPECT_EQ(outcomes_[id].ids.size(), 10u);
  EXPECT_EQ(outcomes_[longer].ids.size(), 4u);
  EXPECT_EQ(outcomes_[id].finish, FinishReason::kLength);
}

TEST_F(SchedulerTest, BadRequestsAreRefused) {
  const auto refused = [&](RequestOptions r) {
    const auto id = scheduler_->submit(std::move(r));
    return id ? std::string("accepted") : id.error().message;
  };
  EXPECT_THAT(refused(request(1, 0, 5)), HasSubstr("the prompt is empty"));
  EXPECT_THAT(refused(request(1, max_context(), 5)), HasSubstr("--max-context"));
  RequestOptions outside = request(1, 3, 5);
  outside.prompt[1] = static_cast<int32_t>(engine_->plan().model->vocab);
  EXPECT_THAT(refused(outside), HasSubstr("outside of the vocabulary"));
  outside.prompt[1] = -1;
  EXPECT_THAT(refused(outside), HasSubstr("outside of the vocabulary"));
  RequestOptions many = request(1, 3, 5);
  many.sampling.top_logprobs = 21;
  EXPECT_THAT(refused(many), HasSubstr("at most 20"));
  EXPECT_FALSE(turn());
}

TEST_F(SchedulerTest, MoreRequestsThanSlotsAllEnd) {
  std::vector<uint64_t> ids;
  std::vector<RequestOptions> requests;
  for (int32_t i = 0; i < 50; ++i) {
    requests.push_back(request(i, 1 + static_cast<size_t>(i * 13 % 70), 3 + static_cast<uint64_t>(i % 11)));
    ids.push_back(submit(requests.back()));
  }
  finish_all();
  for (size_t i = 0; i < ids.size(); ++i) {
    EXPECT_EQ(outcomes_[ids[i]].ids, alone(requests[i])) << "request " << i;
    EXPECT_EQ(outcomes_[ids[i]].finish, FinishReason::kLength);
  }
  // First come, first served: the last waited for the first ones to end.
  EXPECT_GT(outcomes_[ids.back()].first_event, outcomes_[ids.front()].last_event);
}

TEST_F(SchedulerTest, RequestsShareSteps) {
  for (uint64_t i = 0; i < max_batch(); ++i) submit(request(static_cast<int32_t>(i), 4, 16));
  finish_all();
  // All prompts fit into the first step. A device that runs ahead may add a step or two.
  EXPECT_LE(scheduler_->steps(), 16u + llmrt::Engine::kIoSets);
}

TEST_F(SchedulerTest, LongPromptDoesNotHoldUpDecodes) {
  const uint64_t decoding = submit(request(1, 4, 60));
  for (int i = 0; i < 5; ++i) turn();
  std::vector<uint64_t> late;
  for (int32_t i = 0; i < 6; ++i) late.push_back(submit(request(10 + i, max_context() - 20, 5)));
  finish_all();
  EXPECT_EQ(outcomes_[decoding].ids, alone(request(1, 4, 60)));
  for (int32_t i = 0; i < 6; ++i) {
    EXPECT_EQ(outcomes_[late[static_cast<size_t>(i)]].ids, alone(request(10 + i, max_context() - 20, 5)));
    EXPECT_LT(outcomes_[late[static_cast<size_t>(i)]].first_event, outcomes_[decoding].last_event);
  }
}

TEST_F(SchedulerTest, CancelledRequestsEndAtOnceAndFreeTheirSlots) {
  std::vector<uint64_t> ids;
  for (uint64_t i = 0; i < max_batch() + 4; ++i) ids.push_back(submit(request(static_cast<int32_t>(i), 6, 30)));
  for (int i = 0; i < 4; ++i) turn();
  scheduler_->cancel(ids[2]);      // running
  scheduler_->cancel(ids.back());  // waiting
  scheduler_->cancel(ids[2]);      // again
  scheduler_->cancel(987654);      // nobody
  finish_all();
  for (size_t i = 0; i < ids.size(); ++i) {
    const Outcome& o = outcomes_[ids[i]];
    const bool cancelled = i == 2 || i == ids.size() - 1;
    EXPECT_EQ(o.finish, cancelled ? FinishReason::kCancelled : FinishReason::kLength) << i;
    if (cancelled) continue;
    EXPECT_EQ(o.ids, alone(request(static_cast<int32_t>(i), 6, 30))) << i;
  }
  EXPECT_LT(outcomes_[ids[2]].ids.size(), 30u);
  EXPECT_TRUE(outcomes_[ids.back()].ids.empty());
}

TEST_F(SchedulerTest, RequestsMayComeAtAnyTime) {
  std::map<uint64_t, RequestOptions> sent;
  for (int32_t i = 0; i < 30; ++i) {
    const RequestOptions r = request(i, 2 + static_cast<size_t>(i * 7 % 40), 1 + static_cast<uint64_t>(i * 5 % 17));
    sent[submit(r)] = r;
    for (int32_t t = 0; t < i % 4; ++t) turn();
  }
  finish_all();
  ASSERT_EQ(outcomes_.size(), sent.size());
  for (const auto& [id, r] : sent) EXPECT_EQ(outcomes_[id].ids, alone(r)) << "request " << id;
}

TEST_F(SchedulerTest, SmallKvCacheMakesRequestsWait) {
  const auto& plan = engine_->plan();
  uint64_t block_bytes = 0;
  for (const auto& g : plan.kv_groups) block_bytes += g->layers.size() * g->block_bytes;
  load(6 * block_bytes);  // two sequences of three blocks at a time
  ASSERT_TRUE(engine_);
  const uint64_t tokens = 3 * plan.limits->block_tokens;
  std::vector<uint64_t> ids;
  for (int32_t i = 0; i < 9; ++i) ids.push_back(submit(request(i, tokens - 12, 12)));
  finish_all();
  for (int32_t i = 0; i < 9; ++i) EXPECT_EQ(outcomes_[ids[static_cast<size_t>(i)]].ids.size(), 12u);
  EXPECT_GT(outcomes_[ids[2]].first_event, std::min(outcomes_[ids[0]].last_event, outcomes_[ids[1]].last_event));
  EXPECT_EQ(outcomes_[ids[8]].ids, alone(request(8, tokens - 12, 12)));
}

TEST_F(SchedulerTest, SampledRequestsDoNotDependOnTheBatch) {
  const auto sampled = [](int32_t i) {
    RequestOptions r = request(i, 5, 20);
    r.sampling.temperature = 1, r.sampling.top_p = 0.95f, r.sampling.repetition_penalty = 1.1f;
    r.sampling.seed = static_cast<uint64_t>(100 + i);
    return r;
  };
  std::vector<uint64_t> ids;
  for (int32_t i = 0; i < 12; ++i) ids.push_back(submit(sampled(i)));
  finish_all();
  for (int32_t i = 0; i < 12; ++i)
    EXPECT_EQ(outcomes_[ids[static_cast<size_t>(i)]].ids, alone(sampled(i))) << "request " << i;
}

}  // namespace
}  // namespace llmrt_test
