// An open engine of the C API for tests, and teacher-forced scoring on its step level.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "plan/result.h"
#include "runtime/llmrt.h"

namespace llmrt_test {

struct EngineSpec {
  std::string plan, model_dir;
  std::string device = "auto", target;
  bool force_ptx = false;
  int threads = 0;
  bool no_graphs = false;
};

// What is asked of a step, sequence by sequence; the engine's arrays are made from it.
struct StepSequence {
  int32_t slot = 0;
  int32_t first_position = 0;
  std::vector<int32_t> ids;         // an id, or -1-j: what row j of the last step sampled
  std::vector<int32_t> logit_rows;  // indices into ids, in any order
  std::optional<bool> reset;        // default: where first_position is 0
};

class TestEngine {
 public:
  static llm::Result<std::unique_ptr<TestEngine>> open(const EngineSpec& spec);
  ~TestEngine() { llmrt_close(engine_); }
  TestEngine(const TestEngine&) = delete;
  TestEngine& operator=(const TestEngine&) = delete;

  llmrt_engine* get() const { return engine_; }
  const llmrt_info& info() const { return info_; }
  llm::Status check(int status) const { return status == 0 ? llm::Status() : llm::Error{llmrt_error(engine_)}; }

  // One step; the logits [rows, vocab] in the order of the sequences and their logit_rows.
  llm::Result<std::vector<float>> step(const std::vector<StepSequence>& sequences);

  // Logits [ids, vocab] of every position of one sequence in `slot`, `chunk` tokens at a time (0: the plan's longest
  // step). A chunk of more rows than a step may return is run again for the others: the same KV entries are written
  // again.
  llm::Result<std::vector<float>> score(const std::vector<int32_t>& ids, size_t chunk, int32_t slot = 0);

  // Request level, temperature 0: the ids that follow each prompt, all prompts submitted at once.
  llm::Result<std::vector<std::vector<int32_t>>> generate(const std::vector<std::vector<int32_t>>& prompts,
                                                          uint64_t max_tokens);

 private:
  TestEngine() = default;
  llmrt_engine* engine_ = nullptr;
  llmrt_info info_{};
};

}  // namespace llmrt_test
