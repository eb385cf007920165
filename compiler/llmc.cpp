// The command `llmc`: compile, tune, targets, inspect, diff, keygen, sign, verify.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <unistd.h>

#include "compiler/compile_flags.h"
#include "compiler/inspect.h"
#include "compiler/signing.h"
#include "compiler/targets/target.h"
#include "compiler/tune/tune_command.h"
#include "compiler/tuning_choice.h"
#include "llvm/Support/CommandLine.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Pass/PassManager.h"
#include "passes/Passes.h"

namespace {

constexpr int kFailure = 1, kUsage = 2;

int fail(const std::string& message, int status = kFailure) {
  std::fprintf(stderr, "llmc: error: %s\n", message.c_str());
  return status;
}

struct CompileCommand {
  llmc::CompileOptions options;
  std::string targets = "native", weights = "external", tuning;
  std::vector<std::string> forced, mlir_flags;
  llmc::CompileFlags flags;
  bool quiet = false;

  void add(CLI::App& app) {
    CLI::App* c = app.add_subcommand("compile", "Compile a Hugging Face model folder to a plan");
    c->footer("Examples:\n  llmc compile MODEL_DIR --target sm_61 -o plan.fb\n"
              "  llmc compile MODEL_DIR --target sm_75,sm_90,x86-64-v3 --weights embed -o plan.fb");
    c->add_option("model", options.model_dir, "Model folder (config.json, *.safetensors, tokenizer.json)")->required();
    c->add_option("-o,--output", options.output, "Plan file to write")->required();
    c->add_option("--target", targets, "Comma-separated targets; see llmc targets")->capture_default_str();
    c->add_option("--weights", weights, "external: read from the model folder at load; embed: one self-contained file")
        ->check(CLI::IsMember({"external", "embed"}))->capture_default_str();
    c->add_flag("--hash-weights", options.hash_weights,
                "Also record what the weights contain: reads all of them, now and at every load");
    c->add_option("--gemm", options.gemm, "Matrix products of many tokens on GPUs: native (own kernels), cublas (the vendor's library, where "
                  "weights and operands have one type; float16 checkpoints then use float16 operands on every GPU), auto (now: native)")
        ->check(CLI::IsMember({"auto", "native", "cublas"}))->capture_default_str();
    c->add_option("--force-variant", forced, "Use a kernel variant wherever it can run: family=name (repeatable)");
    c->add_option("--tuning", tuning, "Measured kernel times, which overrule predictions: a file of llmc tune, or none (default: those that "
                  "come with llmc)");
    c->add_option("--dump", options.dump_dir, "Write numbered phases and every kernel's source, PTX and cubin to this folder");
    flags.add(*c, options);
    c->add_option("--mlir", mlir_flags, "A flag for MLIR, for example --mlir=--mlir-print-ir-after-all (repeatable)");
    c->add_flag("-q,--quiet", quiet, "Print errors only");
  }

  int run() {
    std::string warning;
    auto parsed = llmc::parse_target_list(targets, &warning);
    if (!parsed) return fail(parsed.error().message);
    options.targets = *parsed;
    if (!warning.empty()) std::fprintf(stderr, "llmc: warning: %s\n", warning.c_str());
    options.embed_weights = weights == "embed";
    for (const std::string& f : forced) {
      const size_t equals = f.find('=');
      if (equals == std::string::npos) return fail("--force-variant '" + f + "' is not family=name", kUsage);
      options.force_variant[f.substr(0, equals)] = f.substr(equals + 1);
    }
    std::vector<std::string> ignored;
    auto measured = llmc::load_tuning(tuning, ignored);
    if (!measured) return fail(measured.error().message);
    options.tuning = std::move(*measured);
    for (const std::string& i : ignored)
      if (!quiet) std::fprintf(stderr, "llmc: warning: %s\n", i.c_str());
    flags.complete(options);
    std::vector<const char*> arguments = {"llmc"};
    for (const std::string& f : mlir_flags) arguments.push_back(f.c_str());
    llvm::cl::ParseCommandLineOptions(static_cast<int>(arguments.size()), arguments.data());
    const bool terminal = isatty(STDERR_FILENO) && !quiet;
    if (terminal)
      options.codegen.progress = [](size_t done, size_t all, const std::string& kernel) {
        std::fprintf(stderr, "\r\033[K[%zu/%zu] %s%s", done, all, kernel.c_str(), done == all ? "\r\033[K" : "");
      };
    const auto report = llmc::compile_model(options);
    if (!report) return fail(report.error().message);
    if (!quiet) {
      for (const std::string& w : report->warnings) std::fprintf(stderr, "llmc: warning: %s\n", w.c_str());
      std::printf("%s: %zu kernels, %.1f MB\n", options.output.c_str(), report->kernels, static_cast<double>(report->plan_bytes) / 1e6);
    }
    return 0;
  }
};

}  // namespace

int main(int argc, char** argv) {
  mlir::registerMLIRContextCLOptions();
  mlir::registerPassManagerCLOptions();
  CLI::App app{"llmc compiles large language models ahead of time"};
  app.set_version_flag("--version", "llmc 0.1.0");
  app.require_subcommand(1);
  CompileCommand compile;
  compile.options.codegen.jobs = 0;
  compile.add(app);
  llmc::TuneCommand tune;
  tune.add(app);
  bool json = false;
  std::string plan_a, plan_b, key;
  std::vector<std::string> trusted;
  CLI::App* targets = app.add_subcommand("targets", "List the targets and what each has");
  targets->add_flag("--json", json, "Print JSON");
  CLI::App* inspect = app.add_subcommand("inspect", "Show what is in a plan");
  inspect->add_option("plan", plan_a, "Plan file")->required();
  inspect->add_flag("--json", json, "Print JSON");
  CLI::App* diff = app.add_subcommand("diff", "Show what changed between two plans");
  diff->add_option("a", plan_a, "Plan file")->required();
  diff->add_option("b", plan_b, "Plan file")->required();
  CLI::App* keygen = app.add_subcommand("keygen", "Make a pair of keys: NAME.key signs plans, NAME.pub checks them");
  keygen->add_option("-o,--output", key, "NAME")->required();
  CLI::App* sign = app.add_subcommand("sign", "Sign a plan, in place of an older signature");
  sign->footer("Example:\n  llmc keygen -o release\n  llmc sign plan.fb --key release.key\n"
               "  llmrt run plan.fb --trust release.pub --prompt \"Hello\"");
  sign->add_option("plan", plan_a, "Plan file")->required();
  sign->add_option("--key", key, "Secret key (NAME.key)")->required();
  CLI::App* verify = app.add_subcommand("verify", "Check who signed a plan, and every byte of it");
  verify->add_option("plan", plan_a, "Plan file")->required();
  verify->add_option("--trust", trusted, "Public key (NAME.pub) that may have signed it (repeatable)")
      ->required()->allow_extra_args(false);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help, --version
    return fail(std::string(e.what()) + "; see llmc --help", kUsage);
  }
  std::string out;
  llm::Status status;
  if (app.got_subcommand("compile")) return compile.run();
  if (app.got_subcommand("tune")) status = tune.run(out);
  if (*targets) status = llmc::print_targets(json, out);
  if (*inspect) status = llmc::inspect_plan(plan_a, json, out);
  if (*diff) status = llmc::diff_plans(plan_a, plan_b, out);
  if (*keygen) status = llmc::make_keys(key, out);
  if (*sign) status = llmc::sign_plan(plan_a, key, out);
  if (*verify) status = llmc::verify_plan(plan_a, trusted, out);
  std::fputs(out.c_str(), stdout);
  return status.ok() ? 0 : fail(status.error().message);
}
