#include "compiler/codegen/kernel_cache.h"

#include <cinttypes>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "plan/file_io.h"
#include "plan/mapped_file.h"

namespace llmc {
namespace {

std::span<const std::byte> as_bytes(std::string_view s) { return std::as_bytes(std::span(s.data(), s.size())); }

void put(std::string& out, std::string_view part) {
  const uint64_t n = part.size();
  out.append(reinterpret_cast<const char*>(&n), sizeof n);
  out.append(part);
}

// Reads one length-prefixed part; false at a malformed end.
bool take(std::string_view& in, std::string& part) {
  uint64_t n;
  if (in.size() < sizeof n) return false;
  std::memcpy(&n, in.data(), sizeof n);
  in.remove_prefix(sizeof n);
  if (n > in.size()) return false;
  part.assign(in.substr(0, n));
  in.remove_prefix(n);
  return true;
}

}  // namespace

std::string KernelCache::default_folder() {
  if (const char* folder = std::getenv("LLMC_CACHE")) return folder;
  if (const char* xdg = std::getenv("XDG_CACHE_HOME"); xdg && *xdg) return std::string(xdg) + "/llmc";
  if (const char* home = std::getenv("HOME"); home && *home) return std::string(home) + "/.cache/llmc";
  return "";
}

llm::PlanHash KernelCache::key(std::string_view compiler, std::string_view options, std::string_view source, std::string_view headers) {
  std::string all;
  for (std::string_view part : {compiler, options, source, headers}) put(all, part);
  return llm::hash_bytes(as_bytes(all));
}

std::string KernelCache::path(const llm::PlanHash& key) const {
  char name[40];
  std::snprintf(name, sizeof name, "%016" PRIx64 "%016" PRIx64, key.high, key.low);
  return folder_ + "/" + name;
}

std::optional<KernelArtifacts> KernelCache::find(const llm::PlanHash& key) const {
  if (folder_.empty()) return std::nullopt;
  const auto text = llm::read_text_file(path(key));
  if (!text || text->size() < sizeof(llm::PlanHash)) return std::nullopt;
  llm::PlanHash stored;
  std::memcpy(&stored, text->data(), sizeof stored);
  std::string_view rest = std::string_view(*text).substr(sizeof stored);
  if (!(llm::hash_bytes(as_bytes(rest)) == stored)) return std::nullopt;
  KernelArtifacts artifacts;
  while (!rest.empty()) {
    std::string name, value;
    if (!take(rest, name) || !take(rest, value)) return std::nullopt;
    artifacts[name] = std::move(value);
  }
  return artifacts;
}

void KernelCache::store(const llm::PlanHash& key, const KernelArtifacts& artifacts) const {
  if (folder_.empty()) return;
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  std::string body;
  for (const auto& [name, value] : artifacts) {
    put(body, name);
    put(body, value);
  }
  const llm::PlanHash hash = llm::hash_bytes(as_bytes(body));
  auto file = llm::AtomicFile::create(path(key));
  if (!file) return;
  if (!(*file)->append(std::as_bytes(std::span(&hash, 1)))) return;
  if (!(*file)->append(as_bytes(body))) return;
  (void)(*file)->commit();
}

}  // namespace llmc
