// Cores and memory nodes of this machine, as far as this process may use them.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace llmrt {

// The kernel's form of a set of numbers: "0-3,8". What cannot be read is left out.
std::vector<int> parse_id_list(std::string_view list);

// Cores that this process may run on, at least one.
std::vector<int> usable_cores();

// Keeps the calling thread on a core; false where the system does not allow it.
bool pin_to_core(int core);

// Spreads pages that nobody has touched yet over all memory nodes, so that threads on all of them read at the bandwidth of all. Nothing
// happens on one node, or where the system does not allow it.
void interleave_pages(void* data, size_t bytes);

}  // namespace llmrt
