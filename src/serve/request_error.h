#pragma once

#include <fmt/format.h>

#include <string>

#include "base/config_node.h"
#include "base/error.h"

namespace incontext::serve {

/// An answer that is an error: HTTP status and what OpenAI's clients read of it.
class RequestError : public base::Error {
 public:
  RequestError(int status, const std::string& message, std::string param = "", std::string code = "")
      : base::Error(message), status_(status), param_(std::move(param)), code_(std::move(code)) {}

  int status() const { return status_; }
  /// {"error": {"message", "type", "param", "code"}}.
  base::Json body() const;

 private:
  int status_;
  std::string param_, code_;
};

/// A request that cannot be answered as it is: 400, with the name of the field.
template <class... Args>
[[noreturn]] void refuse(const std::string& param, fmt::format_string<Args...> format, Args&&... args) {
  throw RequestError(400, fmt::format(format, std::forward<Args>(args)...), param);
}

}  // namespace incontext::serve
