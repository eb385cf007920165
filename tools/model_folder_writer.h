// Writes a Hugging Face model folder of seeded random weights: shards, their index, and config.json.
#pragma once

#include <cstdint>
#include <string>

#include "compiler/frontend/dtype.h"
#include "compiler/frontend/model_config.h"
#include "plan/result.h"
#include "tools/random_weights.h"

namespace llmc {

struct ModelFolderOptions {
  std::string folder = {};
  DType dtype = DType::kBF16;  // of every tensor: F32, F16 or BF16
  uint64_t seed = 0;
  uint64_t shard_count = 0;                  // 0: as many as max_shard_bytes asks for
  uint64_t max_shard_bytes = 5'000'000'000;  // a larger tensor gets a shard of its own
  bool headers_only = false;                 // files of the right size without content (sparse): all weights are zero
  StdMode std_mode = StdMode::kTest;
  unsigned threads = 1;
  bool overwrite = false;  // remove the weights that the folder holds; else they are an error
};

struct ModelFolderSummary {
  uint64_t tensors = 0;
  uint64_t parameters = 0;
  uint64_t bytes = 0;
  uint64_t shards = 0;
};

// `config_text` is written as config.json. The values depend on the seed, the names, the shapes and the dtype, not on
// shards or threads. Errors: the folder cannot be written, or holds weights already.
llm::Result<ModelFolderSummary> write_model_folder(const ModelConfig& config, const std::string& config_text,
                                                   const ModelFolderOptions& options);

}  // namespace llmc
