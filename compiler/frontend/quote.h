// Text from a file, made fit to stand inside a one-line error message.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace llmc {

// `text` between single quotes, control characters as \xNN, cut after 120 characters: a name from a bad file can
// neither break the line nor drive the terminal.
std::string quote(std::string_view text);

// [2, 3]
std::string shape_text(std::span<const int64_t> shape);

}  // namespace llmc
