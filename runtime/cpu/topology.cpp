#include "runtime/cpu/topology.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>

namespace llmrt {
namespace {

constexpr int kInterleave = 3;  // MPOL_INTERLEAVE of linux/mempolicy.h
constexpr int kMostNodes = 1024, kWordBits = 64;

// Nodes that hold memory.
std::vector<int> memory_nodes() {
  char text[256] = {};
  FILE* f = std::fopen("/sys/devices/system/node/has_memory", "r");
  if (!f) return {};
  const bool read = std::fgets(text, sizeof text, f);
  std::fclose(f);
  return read ? parse_id_list(text) : std::vector<int>();
}

}  // namespace

std::vector<int> parse_id_list(std::string_view list) {
  std::vector<int> ids;
  const char *at = list.data(), *end = at + list.size();
  while (at < end) {
    int first = 0;
    auto [next, error] = std::from_chars(at, end, first);
    if (error != std::errc()) break;
    int last = first;
    if (next < end && *next == '-') {
      const auto range = std::from_chars(next + 1, end, last);
      if (range.ec != std::errc()) break;
      next = range.ptr;
    }
    for (int id = first; id <= last; ++id) ids.push_back(id);
    at = next < end && *next == ',' ? next + 1 : end;
  }
  return ids;
}

std::vector<int> usable_cores() {
  std::vector<int> cores;
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    for (int i = 0; i < CPU_SETSIZE; ++i)
      if (CPU_ISSET(i, &set)) cores.push_back(i);
  if (cores.empty()) {
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    for (int i = 0; i < std::max(1L, online); ++i) cores.push_back(i);
  }
  return cores;
}

bool pin_to_core(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (core < 0 || core >= CPU_SETSIZE) return false;
  CPU_SET(core, &set);
  return sched_setaffinity(0, sizeof set, &set) == 0;  // of the calling thread
}

void interleave_pages(void* data, size_t bytes) {
  static const std::vector<int> nodes = memory_nodes();
  if (nodes.size() < 2) return;
  unsigned long mask[kMostNodes / kWordBits] = {};
  for (int node : nodes)
    if (node < kMostNodes) mask[node / kWordBits] |= 1ul << (node % kWordBits);
  (void)syscall(SYS_mbind, data, bytes, kInterleave, mask, kMostNodes, 0);  // a hint: memory is as good without it
}

}  // namespace llmrt
