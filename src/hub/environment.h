#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

namespace incontext::hub {

/// What the variables of the Hugging Face tools say, read once. A variable set to nothing counts as unset, and "~" at
/// the start of a path is the home folder.
struct Environment {
  /// HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, $HF_HOME/hub, $XDG_CACHE_HOME/huggingface/hub or
  /// ~/.cache/huggingface/hub, whichever comes first. Empty when none of them nor HOME is set.
  std::filesystem::path cache = {};
  /// HF_ENDPOINT, without slashes at its end.
  std::string endpoint = "https://huggingface.co";
  /// HF_TOKEN or HUGGING_FACE_HUB_TOKEN; read_token() looks into the file as well.
  std::string token = {};
  /// HF_TOKEN_PATH or $HF_HOME/token; it need not exist. Empty under HF_HUB_DISABLE_IMPLICIT_TOKEN, as is the token.
  std::filesystem::path token_file = {};
  /// HF_HUB_OFFLINE, else TRANSFORMERS_OFFLINE: no network call may be made.
  bool offline = false;
  /// HF_HUB_ETAG_TIMEOUT and HF_HUB_DOWNLOAD_TIMEOUT, in seconds there: how long a connection may take and how long
  /// it may stay silent, when asking about files and when fetching them.
  std::chrono::milliseconds etag_timeout{10'000};
  std::chrono::milliseconds download_timeout{10'000};
  /// Not HF_HUB_DISABLE_PROGRESS_BARS.
  bool progress_bars = true;
  /// REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE or SSL_CERT_FILE: certificates to trust instead of the system's.
  std::filesystem::path certificates = {};
};

/// Looks a variable up; nullopt when it is not set.
using VariableLookup = std::function<std::optional<std::string>(const std::string& name)>;

/// Reads this process's variables, or those of `lookup`. A timeout that is no positive number of seconds is an Error
/// that names the variable. (Proxies are read by libcurl itself: http_proxy, https_proxy, all_proxy, no_proxy.)
Environment read_environment();
Environment read_environment(const VariableLookup& lookup);

/// The token, from the variable or else from the file; "" when there is none. A file that cannot be read, or a token
/// that is not one printable word, is an Error that does not show the token.
std::string read_token(const Environment& environment);

}  // namespace incontext::hub
