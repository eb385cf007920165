// Jobs that threads take in turn; for loading, not for steps.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "plan/result.h"

namespace llmrt {

// Runs job(i) for all i below n on up to `threads` threads, this one among them; the first error of the lowest i.
inline llm::Status parallel(size_t n, size_t threads, const std::function<llm::Status(size_t)>& job) {
  std::vector<llm::Status> results(n);
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i; (i = next++) < n;) results[i] = job(i);
  };
  std::vector<std::thread> workers;
  for (size_t t = 1; t < std::min(n, threads); ++t) workers.emplace_back(work);
  work();
  for (std::thread& worker : workers) worker.join();
  for (const llm::Status& result : results) LLM_TRY(result);
  return {};
}

}  // namespace llmrt
