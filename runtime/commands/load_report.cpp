#include "runtime/commands/load_report.h"

#include <unistd.h>

#include <ctime>
#include <fstream>
#include <sstream>

namespace llmrt::commands {
namespace {

// Age of the process: its start in clock ticks since boot is field 22 of /proc/self/stat, the 20th behind the name.
double process_seconds() {
  std::ifstream file("/proc/self/stat");
  std::string stat((std::istreambuf_iterator<char>(file)), {});
  std::istringstream fields(stat.substr(std::min(stat.size(), stat.rfind(')') + 1)));
  std::string field;
  for (int i = 0; i < 20; ++i) fields >> field;
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  const double started = std::strtod(field.c_str(), nullptr) / static_cast<double>(sysconf(_SC_CLK_TCK));
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9 - started;
}

}  // namespace

nlohmann::ordered_json load_json(const Session& session) {
  llmrt_load_times t{};
  t.size = sizeof t;
  llmrt_get_load_times(session.engine(), &t);
  const double gb = static_cast<double>(t.weight_bytes) / 1e9;
  // Before the engine was opened: ticks of 10 ms are all that the system tells.
  const double start = process_seconds() - (seconds_now() - session.opened_at());
  return {{"start_s", std::max(0.0, start)},
          {"plan_s", t.plan_s},
          {"device_s", t.device_s},
          {"memory_s", t.memory_s},
          {"weights_s", t.weights_s},
          {"weights_gb", gb},
          {"weights_gb_s", t.weights_s > 0 ? gb / t.weights_s : 0},
          {"code_s", t.code_s},
          {"code_wait_s", t.code_wait_s},
          {"init_s", t.init_s},
          {"open_s", t.open_s}};
}

llm::Status measure_first_tokens(const Session& session, size_t prompt_tokens, nlohmann::ordered_json& load) {
  std::vector<int32_t> prompt;
  for (size_t i = 0; i < prompt_tokens; ++i)  // any ids will do
    prompt.push_back(static_cast<int32_t>(i * 2654435761u % session.info().vocab));
  llmrt_request request;
  llmrt_request_init(&request);
  request.prompt = prompt.data(), request.prompt_tokens = prompt.size(), request.max_tokens = 2;
  uint64_t id;
  const double begin = seconds_now();
  LLM_TRY(session.check(llmrt_submit(session.engine(), &request, &id)));
  std::vector<double> at;
  for (int active = 1; active;) {
    const llmrt_event* events;
    size_t count;
    LLM_TRY(session.check(llmrt_poll(session.engine(), 1, &events, &count, &active)));
    at.insert(at.end(), count, seconds_now());
    if (at.size() == count && count) load["process_to_first_token_s"] = process_seconds();
  }
  if (at.empty()) return llm::Error{"the first request made no token"};
  llmrt_load_times t{};
  t.size = sizeof t;
  llmrt_get_load_times(session.engine(), &t);
  load["first_prefill_s"] = at.front() - begin;
  load["second_token_s"] = at.back() - at.front();
  load["graphs_s"] = t.graphs_s;
  load["graphs"] = t.graphs;
  return {};
}

void print_load(const nlohmann::ordered_json& load) {
  const auto row = [&](const char* key, const char* what, const std::string& note = "") {
    if (load.contains(key)) std::printf("  %-42s %9.1f ms%s\n", what, load[key].get<double>() * 1e3, note.c_str());
  };
  char rate[64];
  std::snprintf(rate, sizeof rate, "  %.2f GB, %.1f GB/s", load["weights_gb"].get<double>(),
                load["weights_gb_s"].get<double>());
  row("start_s", "process start");
  row("plan_s", "plan: open and verify");
  row("device_s", "driver and context");
  row("memory_s", "device memory");
  row("weights_s", "weights", rate);
  row("code_wait_s", "code, behind the weights");
  row("code_s", "  (code in all)");
  row("init_s", "made weights, tensor maps");
  row("open_s", "opened: from plan to here");
  row("first_prefill_s", "first prompt");
  row("graphs_s", "  (building programs, in all)");
  row("second_token_s", "second token");
  row("process_to_first_token_s", "process start to first token");
}

}  // namespace llmrt::commands
