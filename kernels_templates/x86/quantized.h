// The formulas of quantized weights, with the types of this side.
#pragma once

// clang-format off: the types come first
#include "x86/types.h"
#include "quantized_weights.h"
// clang-format on
