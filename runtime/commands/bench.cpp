// llmrt bench: time to first token, time per token, tokens per second, and the share of the memory roofline.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "runtime/commands/load_report.h"

namespace llmrt::commands {
namespace {

struct BenchOptions {
  SessionOptions session;
  size_t prompt_tokens = 512, gen_tokens = 256;
  std::vector<size_t> batch = {1};
  int repeats = 3;
  bool load = false;
};

struct Timing {
  double ttft_s = 0;  // until every sequence has its first token
  double step_s = 0;  // of all sequences: from then until the first of them ends; 0 if that came before
  double total_s = 0;
};

llm::Result<Timing> run_batch(Session& session, const BenchOptions& o, size_t batch, int round) {
  std::vector<std::vector<int32_t>> prompts(batch);
  for (size_t s = 0; s < batch; ++s)
    for (size_t i = 0; i < o.prompt_tokens; ++i)  // any ids will do; different ones per sequence and round
      prompts[s].push_back(
          static_cast<int32_t>((i * 2654435761u + s * 97 + static_cast<size_t>(round) * 31) % session.info().vocab));
  const double begin = seconds_now();
  for (const auto& prompt : prompts) {
    llmrt_request r;
    llmrt_request_init(&r);
    r.prompt = prompt.data(), r.prompt_tokens = prompt.size(), r.max_tokens = o.gen_tokens;
    uint64_t id;
    LLM_TRY(session.check(llmrt_submit(session.engine(), &r, &id)));
  }
  Timing t;
  std::vector<uint64_t> started;
  size_t tokens = 0;  // of all sequences, while all were generating
  bool ended = false;
  for (int active = 1; active;) {
    const llmrt_event* events;
    size_t count;
    LLM_TRY(session.check(llmrt_poll(session.engine(), 1, &events, &count, &active)));
    const double now = seconds_now() - begin;
    const bool all_started = started.size() == batch;
    for (size_t i = 0; i < count; ++i) {
      if (!all_started && std::find(started.begin(), started.end(), events[i].request) == started.end()) {
        started.push_back(events[i].request);
        if (started.size() == batch) t.ttft_s = now;
      }
    }
    if (all_started && !ended) {
      for (size_t i = 0; i < count; ++i) tokens += events[i].id >= 0;
      t.step_s = (now - t.ttft_s) * static_cast<double>(batch) / static_cast<double>(std::max<size_t>(tokens, 1));
    }
    for (size_t i = 0; i < count; ++i) ended |= events[i].finish != LLMRT_RUNNING;
  }
  t.total_s = seconds_now() - begin;
  return t;
}

llm::Status bench(const BenchOptions& o) {
  LLM_ASSIGN(auto session, Session::open(o.session));
  const llmrt_info& info = session->info();
  if (o.prompt_tokens + o.gen_tokens > info.max_context)
    return llm::Error{"--prompt-tokens + --gen-tokens is " + std::to_string(o.prompt_tokens + o.gen_tokens) +
                      ", beyond the plan's context of " + std::to_string(info.max_context)};
  nlohmann::ordered_json load = load_json(*session);
  if (o.load) {
    LLM_TRY(measure_first_tokens(*session, o.prompt_tokens, load));
    if (o.session.json)
      std::printf("%s\n", nlohmann::ordered_json{{"device", info.device}, {"load", load}}.dump(2).c_str());
    else
      std::printf("%s on %s (%s)\n", info.model, info.device, info.target), print_load(load);
    return {};
  }
  double bandwidth;
  LLM_TRY(session->check(llmrt_bandwidth(session->engine(), &bandwidth)));
  nlohmann::ordered_json report = {{"model", info.model},
                                   {"target", info.target},
                                   {"device", info.device},
                                   {"load_s", session->load_seconds()},
                                   {"load", load},
                                   {"bandwidth_gb_s", bandwidth},
                                   {"prompt_tokens", o.prompt_tokens},
                                   {"gen_tokens", o.gen_tokens}};
  if (!o.session.json) {
    std::printf("%s on %s (%s), loaded in %.2f s; measured bandwidth %.0f GB/s\n", info.model, info.device, info.target,
                session->load_seconds(), bandwidth);
    std::printf("%6s %8s %8s %10s %12s %12s %10s %10s\n", "batch", "in", "out", "TTFT ms", "TPOT ms", "decode t/s",
                "total t/s", "roofline");
  }
  for (size_t batch : o.batch) {
    if (batch == 0 || batch > info.max_batch)
      return llm::Error{"--batch " + std::to_string(batch) + " is beyond the plan's max-batch of " +
                        std::to_string(info.max_batch)};
    std::vector<Timing> runs;
    for (int r = 0; r <= o.repeats; ++r) {  // the first run warms up
      LLM_ASSIGN(const Timing t, run_batch(*session, o, batch, r));
      if (r > 0) runs.push_back(t);
    }
    std::sort(runs.begin(), runs.end(), [](const Timing& a, const Timing& b) { return a.total_s < b.total_s; });
    const Timing& t = runs[runs.size() / 2];
    const double n = static_cast<double>(batch), tpot = t.step_s;
    double bytes, flops;
    LLM_TRY(session->check(
        llmrt_step_cost(session->engine(), 1, batch, o.prompt_tokens + o.gen_tokens / 2, &bytes, &flops)));
    const double share = tpot > 0 ? bytes / 1e9 / tpot / bandwidth : 0;
    report["runs"].push_back({{"batch", batch},
                              {"ttft_ms", t.ttft_s * 1e3},
                              {"tpot_ms", tpot * 1e3},
                              {"decode_tokens_per_s", tpot > 0 ? n / tpot : 0},
                              {"total_tokens_per_s", n * static_cast<double>(o.gen_tokens) / t.total_s},
                              {"step_gb", bytes / 1e9},
                              {"roofline_share", share}});
    if (!o.session.json)
      std::printf("%6zu %8zu %8zu %10.2f %12.3f %12.1f %10.1f %9.1f%%\n", batch, o.prompt_tokens, o.gen_tokens,
                  t.ttft_s * 1e3, tpot * 1e3, tpot > 0 ? n / tpot : 0,
                  n * static_cast<double>(o.gen_tokens) / t.total_s, share * 100);
  }
  if (o.session.json) std::printf("%s\n", report.dump(2).c_str());
  return {};
}

}  // namespace

Verb add_bench(CLI::App& app) {
  auto o = std::make_shared<BenchOptions>();
  CLI::App* c = app.add_subcommand("bench", "Measure time to first token, time per token and throughput");
  c->footer("Example:\n  llmrt bench plan.fb --prompt-tokens 512 --gen-tokens 256 --batch 1,2,8");
  o->session.add(*c);
  c->add_option("--prompt-tokens", o->prompt_tokens, "Tokens of each prompt")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  c->add_option("--gen-tokens", o->gen_tokens, "Tokens to generate per prompt")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  c->add_option("--batch", o->batch, "Sequences at once, comma-separated")->delimiter(',')->capture_default_str();
  c->add_option("--repeats", o->repeats, "Measured runs per batch; the median is reported")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  c->add_flag("--load", o->load, "Only say where the time goes from the start of the process to the first tokens");
  return [o] { return bench(*o); };
}

}  // namespace llmrt::commands
