// Typed reads of one JSON object of a config.json, each with its permitted range.
//
// The first failure is kept and every later read returns its fallback, so that a parser reads as a plain list of keys
// and asks for status() once at its end. Keys that were never asked for can be listed, so that none is dropped
// silently.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "plan/result.h"

namespace llmc {

class ConfigReader {
 public:
  // `path` only names the file in errors.
  static llm::Result<ConfigReader> parse(std::string_view json, const std::string& path);

  bool has(std::string_view key) const;      // present and not null
  bool present(std::string_view key) const;  // present, perhaps null

  // Required keys: missing or null is a failure.
  int64_t integer(std::string_view key, int64_t low, int64_t high);
  double number(std::string_view key, double low, double high);  // low < value <= high

  // Optional keys: missing or null gives the fallback.
  int64_t integer_or(std::string_view key, int64_t low, int64_t high, int64_t fallback);
  double number_or(std::string_view key, double low, double high, double fallback);
  bool boolean_or(std::string_view key, bool fallback);
  std::string string_or(std::string_view key, std::string_view fallback);
  std::vector<double> numbers(std::string_view key, double low, double high);             // required array
  std::vector<std::string> strings(std::string_view key);                                 // empty when missing
  std::vector<int64_t> integer_or_list(std::string_view key, int64_t low, int64_t high);  // empty when missing

  // The object under `key`; an empty one, and a failure, when it is none. Shares the failure and the warnings.
  ConfigReader object(std::string_view key);

  // The raw value, null when missing; counts as read.
  const nlohmann::json& value(std::string_view key);

  // Records a failure: "<path>: key '<key>': found <value>, expected <expected>".
  void refuse(std::string_view key, std::string_view expected);
  // Records a failure: "<path>: <message>".
  void fail(const std::string& message);
  void warn(const std::string& message);

  bool ok() const { return !state_->error; }
  llm::Status status() const;
  const std::string& path() const { return state_->path; }
  const std::vector<std::string>& warnings() const { return state_->warnings; }

  // The key as it stands in the file, from the top: "rope_scaling.factor".
  std::string full_key(std::string_view key) const { return prefix_ + std::string(key); }
  std::vector<std::string> unread_keys() const;

 private:
  struct State {
    std::string path;
    nlohmann::json root;
    std::optional<std::string> error;
    std::vector<std::string> warnings;
  };

  ConfigReader(std::shared_ptr<State> state, const nlohmann::json* object, std::string prefix)
      : state_(std::move(state)), object_(object), prefix_(std::move(prefix)) {}

  std::shared_ptr<State> state_;
  const nlohmann::json* object_;
  std::string prefix_;
  std::set<std::string, std::less<>> read_;
};

// One line of JSON for an error message, cut after 60 characters.
std::string json_text(const nlohmann::json& value);

}  // namespace llmc
