// llm-measure-kernels: the measuring half of llmc tune, for a machine that has the device and no compiler.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "compiler/tune/measure_rows.h"
#include "plan/file_io.h"

namespace {

llm::Status write_text(const std::string& path, const std::string& text) {
  LLM_ASSIGN(auto file, llm::AtomicFile::create(path));
  LLM_TRY(file->append(std::as_bytes(std::span(text.data(), text.size()))));
  return file->commit();
}

llm::Status run(const std::string& folder, const std::string& output, const llmc::MeasuringOptions& options) {
  std::vector<std::filesystem::path> plans;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error))
    if (entry.path().extension() == ".fb") plans.push_back(entry.path());
  if (plans.empty()) return llm::Error{"no plans in '" + folder + "'; llmc tune --plans makes them"};
  std::sort(plans.begin(), plans.end());
  llmc::RandomContents contents;
  std::string text;
  for (const auto& plan : plans) {
    LLM_ASSIGN(const llmc::RowsFile file, llmc::read_rows(std::filesystem::path(plan).replace_extension(".txt")));
    LLM_ASSIGN(const std::vector<double> times, llmc::measure_rows(plan, file.rows, options, contents));
    if (text.empty()) text = file.first_line + "\n";
    for (size_t i = 0; i < times.size(); ++i) {
      char us[32];
      std::snprintf(us, sizeof us, " %.3f\n", times[i]);
      if (times[i] > 0) text += file.rows[i].columns + us;
    }
    // What is there is of use, should the machine go.
    LLM_TRY(write_text(output, text));
    std::fprintf(stderr, "%s: %zu measurements\n", plan.filename().c_str(), times.size());
  }
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Measures the kernels of plans that llmc tune --plans made, and writes a tuning file"};
  llmc::MeasuringOptions options;
  std::string folder, output;
  app.add_option("folder", folder, "Folder of the plans")->required();
  app.add_option("-o,--output", output, "Tuning file to write")->required();
  app.add_option("--seconds-per-kernel", options.seconds_per_kernel, "Time for each variant of a shape")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--device", options.device, "auto, cpu, cuda or cuda:N")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  const llm::Status status = run(folder, output, options);
  if (!status) std::fprintf(stderr, "llm-measure-kernels: error: %s\n", status.error().message.c_str());
  return status ? 0 : 1;
}
