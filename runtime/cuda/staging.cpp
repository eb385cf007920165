#include "runtime/cuda/staging.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>

#include "runtime/parallel_jobs.h"

namespace llmrt {
namespace {

using llm::Status;

// Small enough that the pinned memory of all threads takes milliseconds to get, large enough to hide the cost of a
// copy.
constexpr uint64_t kBufferBytes = 4ull << 20;
// One thread reads 4 to 8 GB/s from the page cache; a PCIe 5 link takes 50.
constexpr size_t kMaxThreads = 16;

Status fill(std::byte* buffer, const HostCopy& piece) {
  if (piece.file) {
    const auto offset = static_cast<uint64_t>(piece.source.data() - piece.file->bytes().data());
    return piece.file->read(offset, {buffer, piece.source.size()});
  }
  std::memcpy(buffer, piece.source.data(), piece.source.size());
  return {};
}

}  // namespace

Status Staging::copy(const CudaContextPtr& context, CUstream stream, std::span<const HostCopy> copies) {
  std::vector<HostCopy> pieces;
  for (const HostCopy& c : copies) {
    for (uint64_t at = 0; at < c.source.size(); at += kBufferBytes) {
      const auto bytes = std::min<uint64_t>(kBufferBytes, c.source.size() - at);
      pieces.push_back({c.destination + at, c.source.subspan(at, bytes), c.file});
    }
  }
  const Driver& driver = context->driver();
  const size_t cores = std::max(2u, std::thread::hardware_concurrency());
  const size_t threads = std::min({pieces.size(), cores, kMaxThreads});
  if (buffers_.size() < threads) buffers_.resize(threads);
  std::atomic<size_t> next{0};
  std::atomic<bool> failed{false};
  return parallel(threads, threads, [&](size_t thread) -> Status {
    context->make_current();
    Buffer& buffer = buffers_[thread];
    const auto work = [&]() -> Status {
      if (!buffer.copied) {
        LLM_ASSIGN(buffer.memory, PinnedMemory::allocate(context, kBufferBytes));
        LLM_ASSIGN(buffer.copied, make_event(context, EventKind::kSync));
      }
      for (size_t i; !failed && (i = next++) < pieces.size();) {
        LLM_TRY(driver.check(driver.cuEventSynchronize(buffer.copied.get()), "copying weights"));
        LLM_TRY(fill(buffer.memory.host(), pieces[i]));
        LLM_TRY(driver.check(
            driver.cuMemcpyHtoDAsync(pieces[i].destination, buffer.memory.host(), pieces[i].source.size(), stream),
            "copying weights"));
        LLM_TRY(driver.check(driver.cuEventRecord(buffer.copied.get(), stream), "copying weights"));
      }
      return {};
    };
    Status status = work();
    if (!status.ok()) failed = true;
    return status;
  });
}

}  // namespace llmrt
