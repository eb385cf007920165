// One reader for each form of quantized checkpoints: from the tensors of a module to its weight. Sources: README of
// each writer and their packing code, as named in each file.
#pragma once

#include "compiler/frontend/quantization/module_tensors.h"

namespace llmc {

llm::Result<QuantizedWeight> read_gptq_weight(const ModuleTensors& module, const QuantizationScheme& scheme);
llm::Result<QuantizedWeight> read_awq_weight(const ModuleTensors& module, const QuantizationScheme& scheme);
llm::Result<QuantizedWeight> read_compressed_tensors_weight(const ModuleTensors& module,
                                                            const QuantizationScheme& scheme);
llm::Result<QuantizedWeight> read_fp8_weight(const ModuleTensors& module, const QuantizationScheme& scheme);
llm::Result<QuantizedWeight> read_bitsandbytes_weight(const ModuleTensors& module, const QuantizationScheme& scheme);

}  // namespace llmc
