// A scheduler on the plan of engine_options.h, and what came of its requests.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <vector>

#include "runtime/scheduler.h"
#include "test/runtime/engine_options.h"

namespace llmrt_test {

struct Outcome {
  std::vector<int32_t> ids;
  llmrt::FinishReason finish = llmrt::FinishReason::kNone;
  size_t first_event = 0, last_event = 0;  // numbers of events, over all requests
};

class SchedulerTest : public testing::Test {
 protected:
  void SetUp() override { load(0); }

  void load(uint64_t kv_limit, bool no_advance = false) {
    scheduler_.reset();
    engine_ = load_engine(kv_limit, no_advance);
    ASSERT_TRUE(engine_);
    scheduler_ = std::make_unique<llmrt::Scheduler>(*engine_);
    outcomes_.clear();
    events_ = 0;
  }

  static llmrt::RequestOptions request(int32_t seed, size_t prompt_tokens, uint64_t max_tokens) {
    llmrt::RequestOptions r;
    for (size_t i = 0; i < prompt_tokens; ++i)
      r.prompt.push_back(3 + (seed * 31 + static_cast<int32_t>(i * i) * 7 + static_cast<int32_t>(i)) % 150);
    r.max_tokens = max_tokens;
    return r;
  }

  uint64_t submit(llmrt::RequestOptions r) {
    auto id = scheduler_->submit(std::move(r));
    EXPECT_TRUE(id) << id.error().message;
    return id ? *id : 0;
  }

  // One turn; true while something is unfinished.
  bool turn() {
    std::vector<llmrt::TokenEvent> events;
    const auto more = scheduler_->turn(true, events);
    EXPECT_TRUE(more) << more.error().message;
    for (const llmrt::TokenEvent& e : events) {
      Outcome& o = outcomes_[e.request];
      EXPECT_EQ(o.finish, llmrt::FinishReason::kNone) << "an event after the end of request " << e.request;
      if (o.ids.empty()) o.first_event = events_;
      o.last_event = events_++;
      if (e.sample.id >= 0) o.ids.push_back(e.sample.id);
      o.finish = e.finish;
    }
    return more && *more;
  }

  void finish_all() {
    for (int turns = 0; turn(); ++turns) ASSERT_LT(turns, 100000) << "the scheduler does not come to an end";
  }

  std::vector<int32_t> alone(const llmrt::RequestOptions& r) {
    llmrt::Scheduler scheduler(*engine_);
    std::vector<llmrt::TokenEvent> events;
    std::vector<int32_t> ids;
    EXPECT_TRUE(scheduler.submit(r));
    for (bool more = true; more;) {
      auto turned = scheduler.turn(true, events);
      EXPECT_TRUE(turned);
      more = turned && *turned;
    }
    for (const llmrt::TokenEvent& e : events) ids.push_back(e.sample.id);
    return ids;
  }

  uint64_t max_batch() const { return engine_->plan().limits->max_batch; }
  uint64_t max_context() const { return engine_->plan().limits->max_context; }

  std::unique_ptr<llmrt::Engine> engine_;
  std::unique_ptr<llmrt::Scheduler> scheduler_;
  std::map<uint64_t, Outcome> outcomes_;
  size_t events_ = 0;
};

}  // namespace llmrt_test
