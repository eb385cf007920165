// Vocabulary masks through the C API: one a token at the request level, one a row at the step level.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <map>
#include <random>

#include "test/runtime/engine_options.h"

namespace llmrt_test {
namespace {

using testing::HasSubstr;

class MaskTest : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = TestEngine::open(engine_options());
    ASSERT_TRUE(opened) << opened.error().message;
    engine_ = std::move(*opened);
    vocab_ = engine_->info().vocab;
    ASSERT_EQ(engine_->info().mask_words, (vocab_ + 31) / 32);
  }

  std::vector<uint32_t> mask_of(const std::vector<int32_t>& ids) const {
    std::vector<uint32_t> mask(engine_->info().mask_words);
    for (int32_t id : ids) mask[static_cast<size_t>(id) / 32] |= 1u << (id % 32);
    return mask;
  }
  std::vector<uint32_t> everything() const { return std::vector<uint32_t>(engine_->info().mask_words, ~0u); }
  static bool allows(const std::vector<uint32_t>& mask, int32_t id) {
    return mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1;
  }
  // About one id in twenty; a function of the request and of the token's place.
  std::vector<uint32_t> some_mask(uint64_t request, size_t place) const {
    std::mt19937_64 rng(request * 1000 + place);
    std::vector<int32_t> ids = {static_cast<int32_t>(rng() % vocab_)};
    for (size_t i = 0; i < vocab_ / 20; ++i) ids.push_back(static_cast<int32_t>(rng() % vocab_));
    return mask_of(ids);
  }
  static std::vector<int32_t> prompt(int32_t seed, size_t tokens) {
    std::vector<int32_t> ids;
    for (size_t i = 0; i < tokens; ++i) ids.push_back(3 + (seed * 37 + static_cast<int32_t>(i * i) * 5) % 150);
    return ids;
  }

  uint64_t submit(const std::vector<int32_t>& prompt, uint64_t max_tokens, bool masked, float temperature = 0) {
    llmrt_request r;
    llmrt_request_init(&r);
    r.prompt = prompt.data(), r.prompt_tokens = prompt.size(), r.max_tokens = max_tokens, r.masked = masked;
    r.temperature = temperature, r.seed = 17;
    uint64_t id = 0;
    EXPECT_EQ(llmrt_submit(engine_->get(), &r, &id), 0) << llmrt_error(engine_->get());
    return id;
  }
  void set_mask(uint64_t request, const std::vector<uint32_t>& mask) {
    EXPECT_EQ(llmrt_set_mask(engine_->get(), request, mask.data(), mask.size()), 0) << llmrt_error(engine_->get());
  }
  std::string refused(uint64_t request, const std::vector<uint32_t>& mask) {
    const int status = llmrt_set_mask(engine_->get(), request, mask.data(), mask.size());
    return status == 0 ? "accepted" : llmrt_error(engine_->get());
  }

  struct Poll {
    std::vector<llmrt_event> events;
    bool active = false;
  };
  Poll poll() {
    const llmrt_event* events;
    size_t count;
    int active;
    EXPECT_EQ(llmrt_poll(engine_->get(), 1, &events, &count, &active), 0) << llmrt_error(engine_->get());
    return {{events, events + count}, active != 0};
  }

  // Runs everything to its end; `mask(request, place)` for each token of those in `masked`, at once or a step or two
  // late: so a request's steps do not always follow on each other.
  template <typename Mask>
  std::map<uint64_t, std::vector<int32_t>> finish_all(const std::vector<uint64_t>& masked, Mask mask) {
    std::map<uint64_t, std::vector<int32_t>> ids;
    std::map<uint64_t, size_t> polls_left;
    for (uint64_t request : masked) polls_left[request] = 0;
    for (bool active = true; active;) {
      for (auto it = polls_left.begin(); it != polls_left.end();) {
        if (it->second-- > 0) {
          ++it;
          continue;
        }
        set_mask(it->first, mask(it->first, ids[it->first].size()));
        it = polls_left.erase(it);
      }
      const Poll p = poll();
      active = p.active;
      for (const llmrt_event& e : p.events) {
        ids[e.request].push_back(e.id);
        if (e.finish == LLMRT_RUNNING && std::count(masked.begin(), masked.end(), e.request))
          polls_left[e.request] = (e.request + ids[e.request].size()) % 3;
      }
    }
    return ids;
  }

  std::unique_ptr<TestEngine> engine_;
  uint64_t vocab_ = 0;
};

TEST_F(MaskTest, GreedyTakesTheBestAllowedId) {
  std::map<uint64_t, std::vector<int32_t>> prompts;
  std::vector<uint64_t> requests;
  for (int32_t i = 0; i < 5; ++i) {
    const auto p = prompt(i, 1 + static_cast<size_t>(i) * 9);
    requests.push_back(submit(p, 12, true));
    prompts[requests.back()] = p;
  }
  const auto ids = finish_all(requests, [&](uint64_t r, size_t place) { return some_mask(r, place); });
  engine_.reset();
  SetUp();
  for (uint64_t r : requests) {
    ASSERT_EQ(ids.at(r).size(), 12u);
    std::vector<int32_t> all = prompts[r];
    all.insert(all.end(), ids.at(r).begin(), ids.at(r).end());
    const auto logits = engine_->score(all, 1);
    ASSERT_TRUE(logits) << logits.error().message;
    for (size_t i = 0; i < 12; ++i) {
      const auto mask = some_mask(r, i);
      ASSERT_TRUE(allows(mask, ids.at(r)[i])) << "request " << r << ", token " << i;
      const float* row = &(*logits)[(prompts[r].size() + i - 1) * vocab_];
      for (size_t id = 0; id < vocab_; ++id)
        if (allows(mask, static_cast<int32_t>(id))) {
          EXPECT_LE(row[id], row[ids.at(r)[i]] + 1e-3f);
        }
    }
  }
}

TEST_F(MaskTest, MaskThatAllowsEverythingChangesNothing) {
  for (float temperature : {0.0f, 1.0f}) {
    const uint64_t free_running = submit(prompt(3, 20), 30, false, temperature);
    const auto expected = finish_all({}, [&](uint64_t, size_t) { return everything(); });
    const uint64_t masked = submit(prompt(3, 20), 30, true, temperature);
    const auto ids = finish_all({masked}, [&](uint64_t, size_t) { return everything(); });
    EXPECT_EQ(ids.at(masked), expected.at(free_running)) << "temperature " << temperature;
  }
}

TEST_F(MaskTest, SampledIdsAreAllowedBesideOtherRequests) {
  const uint64_t alone = submit(prompt(8, 10), 20, false, 1.0f);
  const auto expected = finish_all({}, [&](uint64_t, size_t) { return everything(); });
  std::vector<uint64_t> masked;
  for (int32_t i = 0; i < 3; ++i) masked.push_back(submit(prompt(i, 5), 20, true, 1.5f));
  const uint64_t beside = submit(prompt(8, 10), 20, false, 1.0f);
  const auto ids = finish_all(masked, [&](uint64_t r, size_t place) { return some_mask(r, place); });
  EXPECT_EQ(ids.at(beside), expected.at(alone));
  for (uint64_t r : masked) {
    ASSERT_EQ(ids.at(r).size(), 20u);
    for (size_t i = 0; i < 20; ++i) EXPECT_TRUE(allows(some_mask(r, i), ids.at(r)[i]));
  }
}

TEST_F(MaskTest, WithoutItsMaskOnlyTheMaskedRequestWaits) {
  const uint64_t masked = submit(prompt(1, 30), 4, true), other = submit(prompt(2, 6), 10, false);
  std::vector<int32_t> others, own;
  Poll p;
  do {
    p = poll();
    for (const llmrt_event& e : p.events) (e.request == other ? others : own).push_back(e.id);
  } while (!p.events.empty());
  EXPECT_TRUE(p.active) << "wait returns, but a request is unfinished";
  EXPECT_EQ(others.size(), 10u);
  EXPECT_TRUE(own.empty());
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(poll().events.empty());
  for (int32_t wanted : {50, 3, 149, 77}) {
    set_mask(masked, mask_of({9}));
    set_mask(masked, mask_of({wanted}));  // in the place of the first
    p = poll();
    ASSERT_EQ(p.events.size(), 1u);
    EXPECT_EQ(p.events[0].id, wanted);
    if (wanted != 77) {
      EXPECT_TRUE(poll().events.empty());
    }
  }
  EXPECT_EQ(p.events[0].finish, LLMRT_LENGTH);
  EXPECT_FALSE(poll().active);
}

TEST_F(MaskTest, AWaitingRequestCanBeCancelled) {
  const uint64_t masked = submit(prompt(1, 3), 4, true);
  EXPECT_TRUE(poll().events.empty());
  EXPECT_EQ(llmrt_cancel(engine_->get(), masked), 0);
  const Poll p = poll();
  ASSERT_EQ(p.events.size(), 1u);
  EXPECT_EQ(p.events[0].finish, LLMRT_CANCELLED);
  EXPECT_FALSE(p.active);
}

TEST_F(MaskTest, BadMasksAreRefused) {
  EXPECT_THAT(refused(1, everything()), HasSubstr("no request was submitted"));
  const uint64_t masked = submit(prompt(1, 5), 2, true), plain = submit(prompt(2, 5), 2, false);
  std::vector<uint32_t> longer = everything();
  longer.push_back(0);
  EXPECT_THAT(refused(masked, longer), HasSubstr("the mask has " + std::to_string(longer.size()) + " words"));
  EXPECT_THAT(refused(masked, mask_of({})), HasSubstr("allows no id"));
  EXPECT_THAT(refused(plain, everything()), HasSubstr("was not submitted as masked"));
  EXPECT_THAT(refused(9999, everything()), HasSubstr("request 9999 is finished or was never submitted"));
  finish_all({masked}, [&](uint64_t, size_t) { return everything(); });
  EXPECT_THAT(refused(masked, everything()), HasSubstr("is finished"));
}

// A caller that was compiled before `masked` was added.
TEST_F(MaskTest, AnOlderRequestStructIsNotMasked) {
  llmrt_request r;
  llmrt_request_init(&r);
  const auto p = prompt(1, 5);
  r.prompt = p.data(), r.prompt_tokens = p.size(), r.max_tokens = 2;
  r.size = offsetof(llmrt_request, masked);
  r.masked = 1;  // what happens to lie behind it
  uint64_t id;
  ASSERT_EQ(llmrt_submit(engine_->get(), &r, &id), 0);
  EXPECT_EQ(poll().events.size(), 1u);
}

TEST_F(MaskTest, StepMasksBoundWhatAGreedyStepPicks) {
  const auto p = prompt(4, 6);
  std::vector<int32_t> positions = {0, 1, 2, 3, 4, 5}, query_start = {0, 6}, slots = {0}, rows = {5, 2, 0}, ids(3),
                       reset = {1};
  llmrt_step step{};
  step.size = sizeof step;
  step.tokens = 6, step.seqs = 1, step.logits = 3;
  step.token_ids = p.data(), step.positions = positions.data(), step.query_start = query_start.data();
  step.slots = slots.data(), step.logit_rows = rows.data(), step.reset = reset.data();
  step.greedy = 1;
  const auto run = [&](const std::vector<uint32_t>* mask) {
    step.mask = mask ? mask->data() : nullptr;
    uint32_t number;
    std::vector<float> logits(3 * vocab_);
    EXPECT_EQ(llmrt_step_submit(engine_->get(), &step, &number), 0) << llmrt_error(engine_->get());
    EXPECT_EQ(llmrt_step_ids(engine_->get(), number, ids.data(), 3), 0);
    EXPECT_EQ(llmrt_step_logits(engine_->get(), logits.data(), 3), 0);
    return logits;
  };
  const auto plain_logits = run(nullptr);
  const auto plain_ids = ids;
  std::vector<uint32_t> mask = everything();  // row 0: any id; row 1: not the best; row 2: one id
  std::vector<uint32_t> second = everything();
  second[static_cast<size_t>(plain_ids[1]) / 32] &= ~(1u << (plain_ids[1] % 32));
  const auto third = mask_of({101});
  mask.insert(mask.end(), second.begin(), second.end());
  mask.insert(mask.end(), third.begin(), third.end());
  const auto masked_logits = run(&mask);
  EXPECT_EQ(masked_logits, plain_logits);
  EXPECT_EQ(ids[0], plain_ids[0]);
  EXPECT_NE(ids[1], plain_ids[1]);
  const float* row = &plain_logits[vocab_];
  for (size_t id = 0; id < vocab_; ++id)
    if (static_cast<int32_t>(id) != plain_ids[1]) {
      EXPECT_LE(row[id], row[ids[1]]);
    }
  EXPECT_EQ(ids[2], 101);
  run(nullptr);
  EXPECT_EQ(ids, plain_ids);

  uint32_t number;
  step.mask = mask.data(), step.greedy = 0;
  EXPECT_EQ(llmrt_step_submit(engine_->get(), &step, &number), 1);
  EXPECT_THAT(llmrt_error(engine_->get()), HasSubstr("greedy"));
  step.greedy = 1;
  std::fill(mask.begin() + static_cast<int64_t>(engine_->info().mask_words), mask.end(), 0);
  EXPECT_EQ(llmrt_step_submit(engine_->get(), &step, &number), 1);
  EXPECT_THAT(llmrt_error(engine_->get()), HasSubstr("the mask of logit row 1 allows no id"));
}

}  // namespace
}  // namespace llmrt_test
