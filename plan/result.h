// Result<T>: a value or an error message. Libraries of this project never print, throw across an interface, or abort:
// they return a Result, and the command line prints the message behind "llmc: error: ".
//
// A message says what is wrong, where, what was found, what was expected, and what fixes it, in one line.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace llm {

struct Error {
  std::string message;
};

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& operator*() { return *std::get_if<0>(&state_); }
  const T& operator*() const { return *std::get_if<0>(&state_); }
  T* operator->() { return std::get_if<0>(&state_); }
  const T* operator->() const { return std::get_if<0>(&state_); }

  const Error& error() const { return *std::get_if<1>(&state_); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Error& error() const { return *error_; }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

}  // namespace llm

// Returns the error of `expr` from the enclosing function, if it has one.
#define LLM_TRY(expr)                                         \
  do {                                                        \
    if (auto llm_status_ = (expr); !llm_status_.ok()) {       \
      return ::llm::Error{llm_status_.error().message};       \
    }                                                         \
  } while (0)

#define LLM_CONCAT_(a, b) a##b
#define LLM_CONCAT(a, b) LLM_CONCAT_(a, b)

// `LLM_ASSIGN(auto x, f());` binds the value of f(), or returns its error from the enclosing function.
#define LLM_ASSIGN(lhs, expr) LLM_ASSIGN_IMPL_(LLM_CONCAT(llm_result_, __LINE__), lhs, expr)
#define LLM_ASSIGN_IMPL_(tmp, lhs, expr)                      \
  auto tmp = (expr);                                          \
  if (!tmp.ok()) return ::llm::Error{tmp.error().message};    \
  lhs = std::move(*tmp)
