#include "compiler/frontend/config_reader.h"

#include <cmath>
#include <sstream>

#include "compiler/frontend/quote.h"

namespace llmc {
namespace {

std::string number_text(double value) {
  std::ostringstream out;
  out << value;
  return out.str();
}

std::string integer_range(int64_t low, int64_t high) {
  return "an integer from " + std::to_string(low) + " to " + std::to_string(high);
}

std::optional<int64_t> integer_in(const nlohmann::json& value, int64_t low, int64_t high) {
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
  const int64_t number = value.get<int64_t>();
  if (number < low || number > high) return std::nullopt;
  return number;
}

bool number_in(const nlohmann::json& value, double low, double high) {
  if (!value.is_number()) return false;
  const double number = value.get<double>();
  return std::isfinite(number) && number > low && number <= high;
}

}  // namespace

std::string json_text(const nlohmann::json& value) {
  constexpr size_t kMaxChars = 60;
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true, nlohmann::json::error_handler_t::replace);
  if (text.size() > kMaxChars) text = text.substr(0, kMaxChars) + "...";
  return text;
}

llm::Result<ConfigReader> ConfigReader::parse(std::string_view json, const std::string& path) {
  auto state = std::make_shared<State>();
  state->path = path;
  state->root = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (state->root.is_discarded()) return llm::Error{path + ": not valid JSON"};
  if (!state->root.is_object()) {
    return llm::Error{path + ": found " + json_text(state->root) + ", expected a JSON object"};
  }
  const nlohmann::json* root = &state->root;
  return ConfigReader(std::move(state), root, "");
}

bool ConfigReader::present(std::string_view key) const { return object_->contains(key); }

bool ConfigReader::has(std::string_view key) const {
  auto found = object_->find(key);
  return found != object_->end() && !found->is_null();
}

const nlohmann::json& ConfigReader::value(std::string_view key) {
  static const nlohmann::json kNull;
  read_.emplace(key);
  auto found = object_->find(key);
  return found == object_->end() ? kNull : *found;
}

int64_t ConfigReader::integer(std::string_view key, int64_t low, int64_t high) {
  const nlohmann::json& found = value(key);
  if (!present(key)) {
    fail("required key " + quote(full_key(key)) + " is missing, expected " + integer_range(low, high));
    return low;
  }
  const std::optional<int64_t> number = integer_in(found, low, high);
  if (!number) refuse(key, integer_range(low, high));
  return number.value_or(low);
}

int64_t ConfigReader::integer_or(std::string_view key, int64_t low, int64_t high, int64_t fallback) {
  value(key);
  return has(key) ? integer(key, low, high) : fallback;
}

double ConfigReader::number(std::string_view key, double low, double high) {
  const nlohmann::json& found = value(key);
  const std::string expected = "a number above " + number_text(low) + ", at most " + number_text(high);
  if (!present(key)) {
    fail("required key " + quote(full_key(key)) + " is missing, expected " + expected);
    return high;
  }
  if (!number_in(found, low, high)) {
    refuse(key, expected);
    return high;
  }
  return found.get<double>();
}

double ConfigReader::number_or(std::string_view key, double low, double high, double fallback) {
  value(key);
  return has(key) ? number(key, low, high) : fallback;
}

bool ConfigReader::boolean_or(std::string_view key, bool fallback) {
  const nlohmann::json& found = value(key);
  if (!has(key)) return fallback;
  if (!found.is_boolean()) {
    refuse(key, "true or false");
    return fallback;
  }
  return found.get<bool>();
}

std::string ConfigReader::string_or(std::string_view key, std::string_view fallback) {
  const nlohmann::json& found = value(key);
  if (!has(key)) return std::string(fallback);
  if (!found.is_string()) {
    refuse(key, "a string");
    return std::string(fallback);
  }
  return found.get<std::string>();
}

std::vector<double> ConfigReader::numbers(std::string_view key, double low, double high) {
  const nlohmann::json& found = value(key);
  const std::string expected = "an array of numbers above " + number_text(low) + ", at most " + number_text(high);
  std::vector<double> out;
  if (!present(key)) {
    fail("required key " + quote(full_key(key)) + " is missing, expected " + expected);
  } else if (!found.is_array()) {
    refuse(key, expected);
  } else {
    for (const nlohmann::json& element : found) {
      if (!number_in(element, low, high)) {
        fail("key " + quote(full_key(key)) + ": found element " + json_text(element) + ", expected " + expected);
        return {};
      }
      out.push_back(element.get<double>());
    }
  }
  return out;
}

std::vector<std::string> ConfigReader::strings(std::string_view key) {
  const nlohmann::json& found = value(key);
  std::vector<std::string> out;
  if (!has(key)) return out;
  if (!found.is_array()) {
    refuse(key, "an array of strings");
    return out;
  }
  for (const nlohmann::json& element : found) {
    if (!element.is_string()) {
      refuse(key, "an array of strings");
      return {};
    }
    out.push_back(element.get<std::string>());
  }
  return out;
}

std::vector<int64_t> ConfigReader::integer_or_list(std::string_view key, int64_t low, int64_t high) {
  const nlohmann::json& found = value(key);
  std::vector<int64_t> out;
  if (!has(key)) return out;
  auto read_one = [&](const nlohmann::json& element) {
    const std::optional<int64_t> number = integer_in(element, low, high);
    if (number) {
      out.push_back(*number);
    } else {
      refuse(key, integer_range(low, high) + ", or an array of them");
    }
  };
  if (!found.is_array()) {
    read_one(found);
  } else {
    for (const nlohmann::json& element : found) read_one(element);
  }
  return out;
}

ConfigReader ConfigReader::object(std::string_view key) {
  static const nlohmann::json kEmpty = nlohmann::json::object();
  const nlohmann::json& found = value(key);
  if (!found.is_object()) refuse(key, "a JSON object");
  return ConfigReader(state_, found.is_object() ? &found : &kEmpty, prefix_ + std::string(key) + ".");
}

void ConfigReader::refuse(std::string_view key, std::string_view expected) {
  fail("key " + quote(full_key(key)) + ": found " + json_text(value(key)) + ", expected " + std::string(expected));
}

void ConfigReader::fail(const std::string& message) {
  if (!state_->error) state_->error = state_->path + ": " + message;
}

void ConfigReader::warn(const std::string& message) { state_->warnings.push_back(state_->path + ": " + message); }

llm::Status ConfigReader::status() const {
  if (state_->error) return llm::Error{*state_->error};
  return {};
}

std::vector<std::string> ConfigReader::unread_keys() const {
  std::vector<std::string> out;
  for (const auto& item : object_->items()) {
    if (!read_.contains(item.key())) out.push_back(item.key());
  }
  return out;
}

}  // namespace llmc
