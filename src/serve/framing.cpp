#include "serve/framing.h"

#include <strings.h>

namespace incontext::serve {
namespace {

bool is_number(const std::string& text) {
  return !text.empty() && text.size() <= 18 && text.find_first_not_of("0123456789") == std::string::npos;
}

}  // namespace

std::optional<RequestError> framing_error(const httplib::Request& asked) {
  const size_t lengths = asked.get_header_value_count("Content-Length");
  const size_t codings = asked.get_header_value_count("Transfer-Encoding");
  const std::string length = asked.get_header_value("Content-Length");
  if (asked.get_header_value_count("Host") > 1) return RequestError(400, "the request names more than one Host");
  if (lengths + codings > 1) return RequestError(400, "the request tells the length of its body more than once");
  if (lengths == 1 && !is_number(length)) return RequestError(400, "Content-Length: expected a number");
  if (codings == 1 && ::strcasecmp(asked.get_header_value("Transfer-Encoding").c_str(), "chunked") != 0) {
    return RequestError(400, "Transfer-Encoding: only chunked is supported");
  }
  // A proxy of that time passes the chunks on without knowing where they end (RFC 9112, 6.1).
  if (codings == 1 && asked.version == "HTTP/1.0") return RequestError(400, "HTTP/1.0 has no Transfer-Encoding");
  const bool takes_body = asked.method == "POST" || asked.method == "PUT" || asked.method == "PATCH";
  if (takes_body && lengths + codings == 0) return RequestError(411, "the request tells no Content-Length");
  const bool has_body = codings == 1 || length.find_first_not_of('0') != std::string::npos;
  if (!takes_body && has_body) return RequestError(400, asked.method + " takes no body");
  if (asked.is_multipart_form_data()) return RequestError(400, "the body is not JSON: it is a form");
  return std::nullopt;
}

bool take_chunks(const httplib::Request& asked) {
  if (!asked.has_header("Transfer-Encoding") || asked.has_header("Content-Encoding")) return false;
  const_cast<httplib::Request&>(asked).headers.erase("Transfer-Encoding");
  return true;
}

bool ends_with_connection(const httplib::Request& asked) {
  if (asked.version != "HTTP/1.0") return false;
  // Whatever it asked for; the library then says so in the answer.
  httplib::Headers& headers = const_cast<httplib::Request&>(asked).headers;
  headers.erase("Connection");
  headers.emplace("Connection", "close");
  return true;
}

void close_after(const httplib::Request& asked, httplib::Response& answer) {
  // The library closes after a provider that gives up, which it does not ask for when the method is HEAD.
  if (asked.method == "HEAD") const_cast<httplib::Request&>(asked).method = "GET";
  const std::string type = answer.get_header_value("Content-Type");
  answer.headers.erase("Content-Type");
  answer.set_header("Connection", "close");
  answer.set_content_provider(answer.body.size(), type,
                              [body = answer.body](size_t at, size_t size, httplib::DataSink& sink) {
                                sink.write(body.data() + at, size);
                                return false;
                              });
  answer.body.clear();
}

}  // namespace incontext::serve
