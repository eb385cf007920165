// llmrt info: what a plan needs of this device, and how it would run here. Allocates nothing.
#include <nlohmann/json.hpp>

#include "runtime/commands/load_report.h"

namespace llmrt::commands {
namespace {

llm::Status info(const SessionOptions& o) {
  LLM_ASSIGN(auto session, Session::open(o));
  const llmrt_info& i = session->info();
  if (o.json) {
    const nlohmann::ordered_json j = {{"model", i.model},
                                      {"target", i.target},
                                      {"device", i.device},
                                      {"max_context", i.max_context},
                                      {"max_batch", i.max_batch},
                                      {"max_step_tokens", i.max_step_tokens},
                                      {"max_logits", i.max_logits},
                                      {"vocab", i.vocab},
                                      {"memory",
                                       {{"weights", i.weight_bytes},
                                        {"mapped_weights", i.mapped_weight_bytes},
                                        {"activations", i.activation_bytes},
                                        {"state", i.state_bytes},
                                        {"io", i.io_bytes},
                                        {"kv", i.kv_bytes},
                                        {"kv_dtype", i.kv_dtype},
                                        {"kv_bytes_per_token", i.kv_bytes_per_token},
                                        {"kv_tokens", i.kv_tokens},
                                        {"total", i.total_bytes},
                                        {"free", i.free_bytes},
                                        {"fits", i.fits != 0},
                                        {"fitting_tokens", i.fitting_tokens}}},
                                      {"load", load_json(*session)}};
    std::printf("%s\n", j.dump(2).c_str());
    return {};
  }
  const auto mb = [](uint64_t bytes) { return static_cast<double>(bytes) / 1e6; };
  std::printf("%s: target %s on %s\n", i.model, i.target, i.device);
  std::printf("  weights      %10.1f MB (and %.1f MB used in place from mapped files)\n", mb(i.weight_bytes),
              mb(i.mapped_weight_bytes));
  std::printf("  activations  %10.1f MB\n  state        %10.1f MB\n  step input   %10.1f MB\n", mb(i.activation_bytes),
              mb(i.state_bytes), mb(i.io_bytes));
  std::printf("  KV cache     %10.1f MB (%llu tokens of %.1f KB in %s)\n", mb(i.kv_bytes),
              static_cast<unsigned long long>(i.kv_tokens), static_cast<double>(i.kv_bytes_per_token) / 1e3,
              i.kv_dtype);
  std::printf("  total        %10.1f MB of %.1f MB free: %s\n", mb(i.total_bytes), mb(i.free_bytes),
              !i.fits ? "does not fit; compile with smaller limits, or a smaller model"
              : i.kv_tokens < i.max_batch * i.max_context ? "fits with fewer KV tokens than the plan asks for"
                                                          : "fits");
  std::printf("  the free memory has room for %llu KV tokens\n", static_cast<unsigned long long>(i.fitting_tokens));
  std::printf("  steps of at most %llu tokens, %llu sequences; context %llu\n",
              static_cast<unsigned long long>(i.max_step_tokens), static_cast<unsigned long long>(i.max_batch),
              static_cast<unsigned long long>(i.max_context));
  return {};
}

}  // namespace

Verb add_info(CLI::App& app) {
  auto o = std::make_shared<SessionOptions>();
  CLI::App* c = app.add_subcommand("info", "Show the memory table of a plan on this device");
  o->add(*c);
  o->info_only = true;
  return [o] { return info(*o); };
}

}  // namespace llmrt::commands
