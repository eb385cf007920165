// Times launches of a plan, on the device at hand. Needs the runtime alone, no compiler: what is to be measured may come from another machine.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "compiler/tune/random_contents.h"
#include "plan/result.h"

namespace llmc {

// Launches of the forward program of a bucket that do the same work, in all layers.
struct LaunchRow {
  uint32_t tokens = 0, seqs = 0, logits = 0;  // the bucket
  std::vector<size_t> launches;               // positions in the program
  std::string columns;                        // a line of a tuning file, up to its time
};

struct MeasuringOptions {
  std::string device = "auto";       // as llmrt --device
  double seconds_per_kernel = 0.05;
};

// Microseconds of one launch of each row, each with random weights and behind a whole step of its bucket; 0 for a bucket whose steps the runtime runs in
// another program. Errors: the device is not that of the plan's only target (a fallback would be measured), the model does not fit on it.
llm::Result<std::vector<double>> measure_rows(const std::string& plan_path, const std::vector<LaunchRow>& rows, const MeasuringOptions& options,
                                              RandomContents& contents);

// Rows as a file beside their plan: "tokens sequences logits launch,launch,... columns", a row a line behind the first line of the tuning file that
// is to come of them.
llm::Status write_rows(const std::string& path, const std::string& first_line, const std::vector<LaunchRow>& rows);
struct RowsFile {
  std::string first_line;
  std::vector<LaunchRow> rows;
};
llm::Result<RowsFile> read_rows(const std::string& path);

}  // namespace llmc
