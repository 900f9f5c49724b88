#include "hub/http.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <exception>
#include <mutex>

#include "base/text.h"
#include "hub/url.h"

namespace incontext::hub {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kMostRedirects = 10;
constexpr size_t kMostRefusal = 4096;

// What one request needs inside libcurl's callbacks, which know no exceptions.
struct Exchange {
  CURL* curl = nullptr;
  HttpAnswer* answer = nullptr;
  const HttpClient::Sink* sink = nullptr;
  const std::function<bool()>* stop_requested = nullptr;
  std::chrono::milliseconds silence{0};
  Clock::time_point last_sign = Clock::now();
  bool silent = false;
  bool stopped = false;
  std::exception_ptr error = nullptr;
};

size_t take_header(char* data, size_t, size_t size, void* user) {
  auto& exchange = *static_cast<Exchange*>(user);
  exchange.last_sign = Clock::now();
  const std::string_view line(data, size);
  if (line.starts_with("HTTP/")) {  // an answer begins; what came before was "100 Continue" or a proxy's
    exchange.answer->headers.clear();
    return size;
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos) return size;
  std::string name(line.substr(0, colon));
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); });
  exchange.answer->headers[name] = base::trim(line.substr(colon + 1));
  return size;
}

size_t take_body(char* data, size_t, size_t size, void* user) {
  auto& exchange = *static_cast<Exchange*>(user);
  exchange.last_sign = Clock::now();
  HttpAnswer& answer = *exchange.answer;
  ::curl_easy_getinfo(exchange.curl, CURLINFO_RESPONSE_CODE, &answer.status);
  if (answer.status != 200 && answer.status != 206) {
    answer.body.append(data, std::min(size, kMostRefusal - std::min(kMostRefusal, answer.body.size())));
    return size;
  }
  try {
    (*exchange.sink)(answer, std::string_view(data, size));
  } catch (...) {
    exchange.error = std::current_exception();
    return CURL_WRITEFUNC_ERROR;
  }
  return size;
}

// libcurl asks at least once a second.
int watch(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  auto& exchange = *static_cast<Exchange*>(user);
  exchange.stopped = *exchange.stop_requested && (*exchange.stop_requested)();
  exchange.silent = Clock::now() - exchange.last_sign > exchange.silence;
  return exchange.stopped || exchange.silent ? 1 : 0;
}

// Whether the same request could go better next time.
bool may_pass(CURLcode code) {
  switch (code) {
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_OUT_OF_MEMORY:
      return false;
    default:
      return true;
  }
}

std::optional<std::chrono::seconds> retry_after(const HttpAnswer& answer) {
  constexpr uint64_t kLongest = 300;
  const std::optional<uint64_t> seconds = answer.number("retry-after");
  if (!seconds) return std::nullopt;
  return std::chrono::seconds(std::min(*seconds, kLongest));
}

bool is_redirect(const HttpAnswer& answer) {
  return answer.status >= 300 && answer.status < 400 && !answer.header("location").empty();
}

void start_libcurl() {
  static std::once_flag once;
  std::call_once(once, [] { INCONTEXT_ASSERT(::curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK); });
}

}  // namespace

std::string HttpAnswer::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

std::optional<uint64_t> HttpAnswer::number(const std::string& name) const {
  const std::string text = header(name);
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

struct HttpClient::Connection {
  CURL* curl = ::curl_easy_init();
  ~Connection() { ::curl_easy_cleanup(curl); }
};

HttpClient::HttpClient(HttpSettings settings)
    : settings_(std::move(settings)), endpoint_origin_(origin_of(settings_.endpoint)) {
  start_libcurl();
  connection_ = std::make_unique<Connection>();
  INCONTEXT_ASSERT(connection_->curl != nullptr);
}

HttpClient::~HttpClient() = default;

HttpAnswer HttpClient::ask_once(const std::string& url, bool only_headers, uint64_t first,
                                std::chrono::milliseconds silence, const Sink& sink) {
  CURL* curl = connection_->curl;
  ::curl_easy_reset(curl);  // keeps open connections
  HttpAnswer answer{.url = url};
  Exchange exchange{
      .curl = curl, .answer = &answer, .sink = &sink, .stop_requested = &settings_.stop_requested, .silence = silence};

  std::string token_header;
  std::unique_ptr<curl_slist, void (*)(curl_slist*)> headers(nullptr, ::curl_slist_free_all);
  if (!settings_.token.empty() && origin_of(url) == endpoint_origin_) {
    token_header = "Authorization: Bearer " + settings_.token;
    headers.reset(::curl_slist_append(nullptr, token_header.c_str()));
  }
  const std::string range = fmt::format("{}-", first);
  char reason[CURL_ERROR_SIZE] = "";

  ::curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  ::curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.get());
  ::curl_easy_setopt(curl, CURLOPT_NOBODY, only_headers ? 1L : 0L);
  if (first > 0) ::curl_easy_setopt(curl, CURLOPT_RANGE, range.c_str());
  ::curl_easy_setopt(curl, CURLOPT_ACCEPT_ENCODING, "identity");  // sizes and digests are of the plain bytes
  ::curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  ::curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  ::curl_easy_setopt(curl, CURLOPT_USERAGENT, "incontext");
  ::curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(silence.count()));
  ::curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  ::curl_easy_setopt(curl, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  ::curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason);
  ::curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header);
  ::curl_easy_setopt(curl, CURLOPT_HEADERDATA, &exchange);
  ::curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
  ::curl_easy_setopt(curl, CURLOPT_WRITEDATA, &exchange);
  ::curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  ::curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, watch);
  ::curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &exchange);
  if (!settings_.certificates.empty()) {
    ::curl_easy_setopt(curl, CURLOPT_CAINFO, settings_.certificates.c_str());
  }

  const CURLcode code = ::curl_easy_perform(curl);
  ::curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer.status);
  if (exchange.error != nullptr) std::rethrow_exception(exchange.error);
  base::check(!exchange.stopped, "stopped as asked; what has come so far is kept, and the same command continues");
  if (exchange.silent) {
    throw TransientError(
        fmt::format("{}: no answer for {} s", shown_url(url), std::chrono::duration<double>(silence).count()));
  }
  if (code != CURLE_OK) {
    const std::string message =
        fmt::format("{}: {}", shown_url(url), base::printable(*reason == '\0' ? ::curl_easy_strerror(code) : reason));
    if (may_pass(code)) throw TransientError(message);
    throw base::Error(message);
  }
  if (answer.status >= 500 || answer.status == 429 || answer.status == 408) {
    throw TransientError(fmt::format("{}: the server answered {}", shown_url(url), answer.status), retry_after(answer));
  }
  return answer;
}

std::string HttpClient::next_address(const HttpAnswer& answer) const {
  const std::string next = resolve_location(answer.url, answer.header("location"));
  const bool secure = origin_of(answer.url).starts_with("https:");
  base::check(!secure || origin_of(next).starts_with("https:"), "{}: redirects to {}, which is not encrypted",
              shown_url(answer.url), shown_url(next));
  return next;
}

HttpAnswer HttpClient::head(const std::string& url, std::chrono::milliseconds silence) {
  std::map<std::string, std::string> kept;
  std::string address = url;
  for (int hop = 0; hop <= kMostRedirects; ++hop) {
    HttpAnswer answer = ask_once(address, true, 0, silence, [](const HttpAnswer&, std::string_view) {});
    for (const char* name : {"x-repo-commit", "x-linked-etag", "x-linked-size"}) {
      if (answer.headers.contains(name)) kept[name] = answer.header(name);
    }
    bool final = !is_redirect(answer);
    if (!final) {
      address = next_address(answer);
      const bool tells = answer.headers.contains("x-linked-etag") || answer.headers.contains("x-repo-commit");
      final = tells && origin_of(address) != origin_of(answer.url);
      if (final) {  // these two are about the redirect's own page
        answer.headers.erase("content-length");
        answer.status = 200;
      }
    }
    if (final) {
      answer.headers.insert(kept.begin(), kept.end());
      return answer;
    }
  }
  base::fail("{}: more than {} redirects", shown_url(url), kMostRedirects);
}

HttpAnswer HttpClient::get(const std::string& url, uint64_t first, std::chrono::milliseconds silence,
                           const Sink& sink) {
  std::string address = url;
  for (int hop = 0; hop <= kMostRedirects; ++hop) {
    HttpAnswer answer = ask_once(address, false, first, silence, sink);
    if (!is_redirect(answer)) return answer;
    address = next_address(answer);
  }
  base::fail("{}: more than {} redirects", shown_url(url), kMostRedirects);
}

}  // namespace incontext::hub
