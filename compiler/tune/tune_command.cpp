#include "compiler/tune/tune_command.h"

#include <cstdio>

#include "compiler/tune/tune_check.h"
#include "plan/file_io.h"

namespace llmc {

void TuneCommand::add(CLI::App& app) {
  CLI::App* c = app.add_subcommand("tune", "Measure kernels on the machine at hand, for llmc compile --tuning");
  c->footer("Examples:\n  llmc tune --target sm_90 MODEL_DIR -o sm_90.txt\n  llmc tune --check sm_90.txt");
  c->add_option("paths", paths_, "Model folders whose shapes are measured (weights are not read); with --check: tuning files")->required();
  c->add_flag("--check", check_, "Measure nothing: say how far the cost model's choices are from the fastest of these files");
  c->add_flag("--json", json_, "With --check: print JSON");
  c->add_option("-o,--output", output_, "Tuning file to write (docs/tuning-format.md)");
  c->add_option("--target", target_, "The target, which is that of this machine's device");
  c->add_option("--families", families_, "Comma-separated kernel families, as llmc inspect names operations (default: all)")->delimiter(',')
      ->allow_extra_args(false);
  c->add_option("--seconds-per-kernel", options_.measuring.seconds_per_kernel, "Time for each variant of a shape")->capture_default_str()->check(CLI::PositiveNumber);
  c->add_option("--plans", options_.plans_dir, "Measure nothing: leave plans in this folder, for llm-measure-kernels on a machine without a compiler");
  c->add_option("--device", options_.measuring.device, "auto, cpu, cuda or cuda:N")->capture_default_str();
  options_.compile.codegen.jobs = 0;
  flags_.add(*c, options_.compile);
}

llm::Status TuneCommand::run(std::string& out) {
  if (check_) return check_tuning(paths_, json_, out);
  return measure(out);
}

llm::Status TuneCommand::measure(std::string& out) {
  if (target_.empty() || output_.empty() == options_.plans_dir.empty())
    return llm::Error{"llmc tune needs --target and either -o or --plans: llmc tune --target sm_90 MODEL_DIR -o sm_90.txt"};
  std::string warning;
  LLM_ASSIGN(options_.compile.targets, parse_target_list(target_, &warning));
  if (!warning.empty() || options_.compile.targets.size() != 1)
    return llm::Error{"--target '" + target_ + "': llmc tune measures for one target that llmc targets lists"};
  options_.model_dirs = paths_;
  options_.families.insert(families_.begin(), families_.end());
  flags_.complete(options_.compile);
  options_.progress = [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); };
  LLM_ASSIGN(const TuneReport report, tune(options_));
  for (const std::string& w : report.warnings) std::fprintf(stderr, "llmc: warning: %s\n", w.c_str());
  const std::string shapes = std::to_string(report.shapes) + " shapes\n";
  if (output_.empty()) {
    out = options_.plans_dir + ": " + shapes;
    return {};
  }
  const std::string text = report.tuning.text();
  LLM_ASSIGN(auto file, llm::AtomicFile::create(output_));
  LLM_TRY(file->append(std::as_bytes(std::span(text.data(), text.size()))));
  LLM_TRY(file->commit());
  out = output_ + ": " + shapes;
  return {};
}

}  // namespace llmc
