#include "runtime/commands/session.h"

#include <chrono>
#include <cstdio>

namespace llmrt::commands {

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void SessionOptions::add(CLI::App& c) {
  c.add_option("plan", plan, "Plan file")->required();
  c.add_option("--model-dir", model_dir, "Folder of external weights (default: the folder of the plan)");
  c.add_option("--trust", trusted_keys, "Public key (NAME.pub): run only a plan that its owner signed (repeatable)")
      ->allow_extra_args(false);
  c.add_option("--device", device, "auto, cpu, cuda or cuda:N")->capture_default_str();
  c.add_option("--target", target, "Use this target of the plan (default: the best that runs)");
  c.add_flag("--ptx", force_ptx, "CUDA: run the target's PTX, compiled by the driver");
  c.add_option("--threads", threads, "CPU threads (default: one per core)");
  c.add_option("--kv-gb", kv_gb, "Most memory for the KV cache, in GB");
  c.add_flag("--separate-allocations", separate_allocations, "Debugging: one device allocation per buffer");
  c.add_flag("--no-graphs", no_graphs, "Debugging: run every launch on its own instead of whole programs");
  c.add_flag("--no-advance", no_advance,
             "Debugging: upload every step's input, also where the device could make it from the last step's");
  c.add_flag("--no-persistent", no_persistent,
             "Debugging: run every launch as a kernel of its own, also where one kernel could run the whole step");
  c.add_flag("--json", json, "Print JSON");
}

llm::Result<std::unique_ptr<Session>> Session::open(const SessionOptions& o) {
  const double begin = seconds_now();
  llmrt_options options{};
  options.size = sizeof options;
  options.plan = o.plan.c_str();
  options.model_dir = o.model_dir.empty() ? nullptr : o.model_dir.c_str();
  options.device = o.device.c_str();
  options.target = o.target.empty() ? nullptr : o.target.c_str();
  options.force_ptx = o.force_ptx;
  options.threads = o.threads;
  options.kv_bytes = static_cast<uint64_t>(o.kv_gb * 1e9);
  options.separate_allocations = o.separate_allocations;
  options.info_only = o.info_only;
  options.no_graphs = o.no_graphs;
  options.no_advance = o.no_advance;
  options.no_persistent = o.no_persistent;
  std::vector<const char*> trusted_keys;
  for (const std::string& path : o.trusted_keys) trusted_keys.push_back(path.c_str());
  options.trusted_keys = trusted_keys.data();
  options.trusted_key_count = trusted_keys.size();
  std::unique_ptr<Session> session(new Session);
  char* error = nullptr;
  if (llmrt_open(&options, &session->engine_, &error) != 0) {
    llm::Error failure{error ? error : "out of host memory"};
    llmrt_free(error);
    return failure;
  }
  session->info_.size = sizeof session->info_;
  LLM_TRY(session->check(llmrt_get_info(session->engine_, &session->info_)));
  session->load_seconds_ = seconds_now() - begin;
  session->opened_at_ = begin;
  if (*session->info_.note) std::fprintf(stderr, "llmrt: note: %s\n", session->info_.note);
  return session;
}

llm::Result<std::string_view> Session::text_asset(const char* name) const {
  size_t bytes = 0;
  const char* text = llmrt_text_asset(engine_, name, &bytes);
  if (text) return std::string_view(text, bytes);
  if (*llmrt_error(engine_)) return llm::Error{llmrt_error(engine_)};
  return std::string_view();
}

}  // namespace llmrt::commands
