// `quantization_config` of compressed-tensors. Source: compressed-tensors, quantization/quant_config.py and
// quant_args.py.
#pragma once

#include "compiler/frontend/quantization/quantization_config.h"

namespace llmc {

void read_compressed_tensors(ConfigReader& reader, QuantizationConfig& config);

}  // namespace llmc
