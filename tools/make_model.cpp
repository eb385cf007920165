// llm-make-model: a model folder of seeded random weights for any config.json that the compiler reads.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "compiler/frontend/model_config.h"
#include "plan/mapped_file.h"
#include "tools/model_folder_writer.h"

namespace {

using llmc::DType;

constexpr const char* kExamples =
    "Examples:\n"
    "  llm-make-model llama-3-8b.json -o /tmp/llama8b                        16 GB in 4 shards, all cores\n"
    "  llm-make-model llama-3-70b.json -o /tmp/llama70b --headers-only      right sizes, no content, no disk space\n"
    "  llm-make-model tiny.json -o /tmp/tiny --dtype f32 --seed 7 --shards 2";

std::string_view config_dtype_name(DType dtype) {
  return dtype == DType::kF32 ? "float32" : dtype == DType::kF16 ? "float16" : "bfloat16";
}

// The given config with the dtype that the weights get, under the key that it uses.
std::string config_with_dtype(const std::string& text, DType dtype) {
  auto config = nlohmann::ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  const bool new_generation = config.contains("dtype") && !config.contains("torch_dtype");
  if (config.contains("dtype")) config["dtype"] = config_dtype_name(dtype);
  if (!new_generation) config["torch_dtype"] = config_dtype_name(dtype);
  return config.dump(2) + "\n";
}

llm::Status run(const std::string& config_path, std::optional<DType> dtype, llmc::ModelFolderOptions options) {
  constexpr size_t kMaxConfigBytes = size_t{16} << 20;
  LLM_ASSIGN(const std::string text, llm::read_text_file(config_path, kMaxConfigBytes));
  LLM_ASSIGN(const llmc::ModelConfig config, llmc::parse_model_config(text, config_path));
  if (config.quantization)
    return llm::Error{config_path + ": key 'quantization_config': expected none, weights are of floating-point types"};
  for (const std::string& warning : config.warnings)
    std::fprintf(stderr, "llm-make-model: warning: %s\n", warning.c_str());
  options.dtype = dtype.value_or(config.dtype.value_or(DType::kBF16));

  const auto start = std::chrono::steady_clock::now();
  LLM_ASSIGN(const llmc::ModelFolderSummary summary,
             llmc::write_model_folder(config, config_with_dtype(text, options.dtype), options));
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("%s: %llu tensors, %.3f billion parameters, %.3f GB %s in %llu %s, %.1f s\n", options.folder.c_str(),
              static_cast<unsigned long long>(summary.tensors), static_cast<double>(summary.parameters) * 1e-9,
              static_cast<double>(summary.bytes) * 1e-9, options.headers_only ? "of holes" : "written",
              static_cast<unsigned long long>(summary.shards), summary.shards == 1 ? "file" : "files", seconds);
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Writes a Hugging Face model folder of seeded random weights for any supported config.json.");
  app.footer(kExamples);
  std::string config_path;
  std::string dtype_name;
  std::string std_mode = "test";
  double max_shard_gb = 5.0;
  llmc::ModelFolderOptions options;
  options.threads = std::max(1u, std::thread::hardware_concurrency());

  app.add_option("CONFIG.json", config_path, "The model's config.json")->required();
  app.add_option("-o,--output", options.folder, "The folder to write")->required();
  app.add_option("--dtype", dtype_name, "bf16, f16 or f32; default: what the config says")
      ->check(CLI::IsMember({"bf16", "f16", "f32"}));
  app.add_option("--seed", options.seed, "Other seeds give other weights")->capture_default_str();
  auto* shards = app.add_option("--shards", options.shard_count, "At most so many files, about equal in size")
                     ->check(CLI::Range(1, 100'000));
  app.add_option("--max-shard-gb", max_shard_gb, "Begin a new file before this many 10^9 bytes")
      ->check(CLI::Range(1e-6, 1e6))
      ->capture_default_str()
      ->excludes(shards);
  app.add_flag("--headers-only", options.headers_only, "Files of the right size without content (sparse)");
  app.add_option("--std-mode", std_mode, "test: a missing piece shows in the logits; realistic: 0.02 everywhere")
      ->check(CLI::IsMember({"test", "realistic"}))
      ->capture_default_str();
  app.add_option("-j,--threads", options.threads, "Threads; the result does not depend on it")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_flag("--force", options.overwrite, "Replace the weights that the folder holds");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }

  options.max_shard_bytes = static_cast<uint64_t>(max_shard_gb * 1e9);
  options.std_mode = std_mode == "test" ? llmc::StdMode::kTest : llmc::StdMode::kRealistic;
  const std::map<std::string, DType> dtypes = {{"bf16", DType::kBF16}, {"f16", DType::kF16}, {"f32", DType::kF32}};
  std::optional<DType> dtype;
  if (!dtype_name.empty()) dtype = dtypes.at(dtype_name);
  if (llm::Status status = run(config_path, dtype, options); !status.ok()) {
    std::fprintf(stderr, "llm-make-model: error: %s\n", status.error().message.c_str());
    return 1;
  }
  return 0;
}
