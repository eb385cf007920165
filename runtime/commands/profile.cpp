// llmrt profile: per kernel time, GB/s, TFLOP/s and share of the roofline; optionally as a Chrome trace.
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "plan/file_io.h"
#include "runtime/commands/session.h"

namespace llmrt::commands {
namespace {

struct ProfileOptions {
  SessionOptions session;
  size_t tokens = 1, batch = 1, context = 512;
  int repeats = 20;
  std::string trace;
};

struct Row {
  size_t launches = 0;
  double us = 0, bytes = 0, flops = 0;
};

llm::Status write_trace(const std::string& path, const llmrt_launch_time* times, size_t count) {
  nlohmann::ordered_json events = nlohmann::ordered_json::array();
  double at = 0;
  for (size_t i = 0; i < count; ++i) {
    events.push_back({{"name", times[i].op}, {"cat", times[i].kernel}, {"ph", "X"}, {"ts", at}, {"dur", times[i].microseconds}, {"pid", 1}, {"tid", 1},
                      {"args", {{"layer", times[i].layer}, {"kernel", times[i].kernel}, {"bytes", times[i].bytes}, {"flops", times[i].flops}}}});
    at += times[i].microseconds;
  }
  const std::string text = nlohmann::ordered_json{{"traceEvents", events}}.dump();
  LLM_ASSIGN(auto file, llm::AtomicFile::create(path));
  LLM_TRY(file->append(std::as_bytes(std::span(text.data(), text.size()))));
  return file->commit();
}

llm::Status profile(const ProfileOptions& o) {
  LLM_ASSIGN(auto session, Session::open(o.session));
  double bandwidth;
  LLM_TRY(session->check(llmrt_bandwidth(session->engine(), &bandwidth)));
  const llmrt_launch_time* times;
  size_t count;
  LLM_TRY(session->check(llmrt_profile(session->engine(), o.tokens, o.batch, o.context, o.repeats, &times, &count)));
  // Layers repeat: one row per operation and kernel.
  std::map<std::pair<std::string, std::string>, Row> rows;
  Row all;
  for (size_t i = 0; i < count; ++i) {
    std::string layer = times[i].layer;
    if (const size_t dot = layer.starts_with("layers.") ? layer.find('.', 7) : std::string::npos; dot != std::string::npos) layer = layer.substr(dot + 1);
    for (Row* r : {&rows[{std::string(times[i].op) + (layer.empty() ? "" : " " + layer), times[i].kernel}], &all})
      ++r->launches, r->us += times[i].microseconds, r->bytes += times[i].bytes, r->flops += times[i].flops;
  }
  if (!o.trace.empty()) LLM_TRY(write_trace(o.trace, times, count));
  std::vector<std::pair<std::pair<std::string, std::string>, Row>> sorted(rows.begin(), rows.end());
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.second.us > b.second.us; });
  const auto gb_s = [](const Row& r) { return r.us > 0 ? r.bytes / r.us / 1e3 : 0; };
  const auto tflop_s = [](const Row& r) { return r.us > 0 ? r.flops / r.us / 1e6 : 0; };
  if (o.session.json) {
    nlohmann::ordered_json j = {{"device", session->info().device}, {"target", session->info().target}, {"bandwidth_gb_s", bandwidth}};
    for (const auto& [name, r] : sorted)
      j["kernels"].push_back({{"op", name.first}, {"kernel", name.second}, {"launches", r.launches}, {"us", r.us}, {"gb_s", gb_s(r)},
                              {"tflop_s", tflop_s(r)}, {"roofline_share", gb_s(r) / bandwidth}});
    j["total_us"] = all.us;
    std::printf("%s\n", j.dump(2).c_str());
    return {};
  }
  std::printf("%s (%s): step of %zu x %zu tokens behind %zu; measured bandwidth %.0f GB/s\n", session->info().device, session->info().target, o.batch,
              o.tokens, o.context, bandwidth);
  std::printf("%-36s %-44s %6s %11s %6s %9s %9s %9s\n", "operation", "kernel", "count", "us", "%", "GB/s", "TFLOP/s", "roofline");
  for (const auto& [name, r] : sorted)
    std::printf("%-36s %-44s %6zu %11.1f %5.1f%% %9.1f %9.2f %8.1f%%\n", name.first.c_str(), name.second.c_str(), r.launches, r.us, 100 * r.us / all.us,
                gb_s(r), tflop_s(r), 100 * gb_s(r) / bandwidth);
  const bool persistent = std::string_view(times[0].kernel).starts_with("persistent");
  std::printf("%-36s %-44s %6zu %11.1f %5.1f%% %9.1f %9.2f %8.1f%%\n", persistent ? "all phases of one kernel" : "all launches, one by one", "", all.launches, all.us, 100.0, gb_s(all), tflop_s(all),
              100 * gb_s(all) / bandwidth);
  return {};
}

}  // namespace

Verb add_profile(CLI::App& app) {
  auto o = std::make_shared<ProfileOptions>();
  CLI::App* c = app.add_subcommand("profile", "Time every kernel of a step");
  c->footer("Example:\n  llmrt profile plan.fb --batch 1 --context 512 --trace step.json");
  o->session.add(*c);
  c->add_option("--tokens", o->tokens, "Tokens per sequence: 1 is a decode step")->capture_default_str();
  c->add_option("--batch", o->batch, "Sequences")->capture_default_str();
  c->add_option("--context", o->context, "KV entries before the step")->capture_default_str();
  c->add_option("--repeats", o->repeats, "Timed runs per launch; the median is reported")->capture_default_str()->check(CLI::PositiveNumber);
  c->add_option("--trace", o->trace, "Write a Chrome trace to this file");
  return [o] { return profile(*o); };
}

}  // namespace llmrt::commands
