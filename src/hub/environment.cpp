#include "hub/environment.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace incontext::hub {
namespace {

namespace fs = std::filesystem;

class Variables {
 public:
  explicit Variables(const VariableLookup& lookup) : lookup_(lookup) {}

  std::string text(const std::string& name) const {
    const std::optional<std::string> value = lookup_(name);
    return value ? std::string(base::trim(*value)) : "";
  }

  std::string first_of(std::initializer_list<const char*> names) const {
    for (const char* name : names) {
      if (std::string value = text(name); !value.empty()) return value;
    }
    return "";
  }

  fs::path path(const std::string& name) const {
    const std::string value = text(name);
    const bool from_home = value == "~" || value.starts_with("~/");
    if (!from_home || text("HOME").empty()) return value;
    return value.size() > 2 ? fs::path(text("HOME")) / value.substr(2) : fs::path(text("HOME"));
  }

  std::chrono::milliseconds seconds(const std::string& name, std::chrono::milliseconds otherwise) const {
    const std::string value = text(name);
    if (value.empty()) return otherwise;
    char* end = nullptr;
    const double seconds = std::strtod(value.c_str(), &end);
    constexpr double kDay = 86400;
    base::check(*end == '\0' && seconds > 0 && seconds <= kDay,
                "{}: expected a number of seconds above 0 and at most {}, got '{}'", name, kDay, value);
    return std::chrono::milliseconds(std::max(1LL, std::llround(seconds * 1000)));
  }

 private:
  const VariableLookup& lookup_;
};

bool is_true(std::string value) {
  std::transform(value.begin(), value.end(), value.begin(),
                 [](char c) { return static_cast<char>(std::toupper(static_cast<unsigned char>(c))); });
  return value == "1" || value == "ON" || value == "YES" || value == "TRUE";
}

fs::path hub_home(const Variables& variables) {
  if (const fs::path home = variables.path("HF_HOME"); !home.empty()) return home;
  if (const fs::path caches = variables.path("XDG_CACHE_HOME"); !caches.empty()) return caches / "huggingface";
  const std::string home = variables.text("HOME");
  return home.empty() ? fs::path() : fs::path(home) / ".cache/huggingface";
}

}  // namespace

Environment read_environment(const VariableLookup& lookup) {
  const Variables variables(lookup);
  Environment environment;
  const fs::path home = hub_home(variables);

  environment.cache = variables.path("HF_HUB_CACHE");
  if (environment.cache.empty()) environment.cache = variables.path("HUGGINGFACE_HUB_CACHE");
  if (environment.cache.empty() && !home.empty()) environment.cache = home / "hub";

  if (std::string endpoint = variables.text("HF_ENDPOINT"); !endpoint.empty()) {
    while (endpoint.ends_with('/')) endpoint.pop_back();
    base::check(endpoint.starts_with("http://") || endpoint.starts_with("https://"),
                "HF_ENDPOINT: expected http://… or https://…, got '{}'", base::printable(endpoint));
    environment.endpoint = endpoint;
  }

  if (!is_true(variables.text("HF_HUB_DISABLE_IMPLICIT_TOKEN"))) {
    environment.token = variables.first_of({"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"});
    environment.token_file = variables.path("HF_TOKEN_PATH");
    if (environment.token_file.empty() && !home.empty()) environment.token_file = home / "token";
  }

  // As the Hugging Face tools have it: HF_HUB_OFFLINE=0 overrules TRANSFORMERS_OFFLINE=1.
  environment.offline = is_true(variables.first_of({"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"}));
  environment.etag_timeout = variables.seconds("HF_HUB_ETAG_TIMEOUT", environment.etag_timeout);
  environment.download_timeout = variables.seconds("HF_HUB_DOWNLOAD_TIMEOUT", environment.download_timeout);
  environment.progress_bars = !is_true(variables.text("HF_HUB_DISABLE_PROGRESS_BARS"));
  environment.certificates = variables.first_of({"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"});
  return environment;
}

Environment read_environment() {
  return read_environment([](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  });
}

std::string read_token(const Environment& environment) {
  std::string token = environment.token;
  std::string source = "HF_TOKEN";
  std::error_code ignored;
  if (token.empty() && !environment.token_file.empty() && fs::is_regular_file(environment.token_file, ignored)) {
    token = base::trim(base::read_file(environment.token_file));
    source = environment.token_file.string();
  }
  // A line end inside would let the token write headers of its own.
  const bool one_word = std::all_of(token.begin(), token.end(), [](char c) { return c > ' ' && c < 0x7f; });
  base::check(one_word, "{}: expected a token, one word of printable ASCII; it holds other characters", source);
  return token;
}

}  // namespace incontext::hub
