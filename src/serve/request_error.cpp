#include "serve/request_error.h"

namespace incontext::serve {
namespace {

const char* type_of(int status) {
  if (status == 401 || status == 403) return "authentication_error";
  if (status == 404) return "not_found_error";
  if (status == 429) return "rate_limit_error";
  if (status == 503) return "unavailable_error";
  if (status == 504) return "timeout_error";
  return status >= 500 ? "server_error" : "invalid_request_error";
}

base::Json text_or_null(const std::string& text) { return text.empty() ? base::Json(nullptr) : base::Json(text); }

}  // namespace

base::Json RequestError::body() const {
  return {{"error",
           {{"message", what()},
            {"type", type_of(status_)},
            {"param", text_or_null(param_)},
            {"code", text_or_null(code_)}}}};
}

}  // namespace incontext::serve
