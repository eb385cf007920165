#include "compiler/signing.h"

#include "plan/key_file.h"
#include "plan/plan_reader.h"
#include "plan/plan_signer.h"

namespace llmc {

llm::Status make_keys(const std::string& name, std::string& out) {
  const llm::SecretKey key = llm::SecretKey::generate();
  LLM_TRY(llm::write_key_pair(name, key));
  out = "key " + key.public_key().id() + ": " + name + ".key signs plans and stays secret; " + name +
        ".pub is for those who run them\n";
  return {};
}

llm::Status sign_plan(const std::string& path, const std::string& key_path, std::string& out) {
  LLM_ASSIGN(const llm::SecretKey key, llm::read_secret_key(key_path));
  LLM_TRY(llm::sign_plan(path, key));
  out = path + ": signed by key " + key.public_key().id() + "\n";
  return {};
}

llm::Status verify_plan(const std::string& path, const std::vector<std::string>& trusted, std::string& out) {
  std::vector<llm::PublicKey> keys;
  for (const std::string& name : trusted) {
    LLM_ASSIGN(const llm::PublicKey key, llm::read_public_key(name));
    keys.push_back(key);
  }
  LLM_ASSIGN(const auto plan, llm::PlanFile::open(path, keys));
  const auto& segments = plan->index().segments;
  for (uint32_t i = 0; i < segments.size(); ++i)  // open() has read the others
    if (segments[i].kind() == llm::fb::SegmentKind::weights)
      LLM_TRY(plan->stream(i, [](uint64_t, std::span<const std::byte>) { return llm::Status(); }));
  out = path + ": signed by key " + plan->signature()->key.id() + " and unaltered\n";
  return {};
}

}  // namespace llmc
