// An open engine for the commands, and the options that all of them take.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "plan/result.h"
#include "runtime/llmrt.h"

namespace llmrt::commands {

struct SessionOptions {
  std::string plan, model_dir, device = "auto", target;
  std::vector<std::string> trusted_keys;
  bool force_ptx = false, json = false, separate_allocations = false, no_graphs = false, no_advance = false, no_persistent = false;
  int threads = 0;
  double kv_gb = 0;
  bool info_only = false;  // set by the verb, not by the user

  void add(CLI::App& command);
};

class Session {
 public:
  static llm::Result<std::unique_ptr<Session>> open(const SessionOptions& options);
  ~Session() { llmrt_close(engine_); }

  llmrt_engine* engine() const { return engine_; }
  const llmrt_info& info() const { return info_; }
  // Turns a C status into a Status with the engine's message.
  llm::Status check(int status) const { return status == 0 ? llm::Status() : llm::Error{llmrt_error(engine_)}; }
  // "" if the plan does not carry it. Error: its bytes are damaged.
  llm::Result<std::string_view> text_asset(const char* name) const;
  double load_seconds() const { return load_seconds_; }
  double opened_at() const { return opened_at_; }  // by seconds_now(), before anything was opened

 private:
  Session() = default;
  llmrt_engine* engine_ = nullptr;
  llmrt_info info_{};
  double load_seconds_ = 0, opened_at_ = 0;
};

double seconds_now();

// The verbs. Each adds itself to the command line and returns what main() calls: the exit status is 1 for an error.
using Verb = std::function<llm::Status()>;
Verb add_run(CLI::App& app);
Verb add_score(CLI::App& app);
Verb add_bench(CLI::App& app);
Verb add_profile(CLI::App& app);
Verb add_info(CLI::App& app);

}  // namespace llmrt::commands
