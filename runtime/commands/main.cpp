// The command `llmrt`: run, score, bench, profile, info.
#include <cstdio>

#include "runtime/commands/session.h"

int main(int argc, char** argv) {
  using namespace llmrt::commands;
  constexpr int kFailure = 1, kUsage = 2;
  CLI::App app{"llmrt runs plans that llmc compiled"};
  app.set_version_flag("--version", "llmrt 0.1.0");
  app.require_subcommand(1);
  const std::pair<const char*, Verb> verbs[] = {
      {"run", add_run(app)}, {"score", add_score(app)}, {"bench", add_bench(app)}, {"profile", add_profile(app)}, {"info", add_info(app)}};
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : kUsage;
  }
  for (const auto& [name, verb] : verbs) {
    if (!app.got_subcommand(name)) continue;
    const llm::Status status = verb();
    if (status.ok()) return 0;
    std::fflush(stdout);
    std::fprintf(stderr, "llmrt: error: %s\n", status.error().message.c_str());
    return kFailure;
  }
  return kUsage;
}
