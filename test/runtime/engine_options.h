// The plan that sampling_test and scheduler_test run, from their command lines: --plan, --model-dir, --device,
// --target, --ptx.
#pragma once

#include <memory>

#include "runtime/engine.h"
#include "test/runtime/test_engine.h"

namespace llmrt_test {

EngineSpec& engine_options();

// The engine below the C API; null, with a test failure, if it cannot be loaded. kv_limit in bytes.
std::unique_ptr<llmrt::Engine> load_engine(uint64_t kv_limit = 0, bool no_advance = false);

}  // namespace llmrt_test
