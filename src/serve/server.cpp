#include "serve/server.h"

#include <httplib.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include "serve/access.h"
#include "serve/admission.h"
#include "serve/authority.h"
#include "serve/chunked_body.h"
#include "serve/completion_stream.h"
#include "serve/connection.h"
#include "serve/exchange.h"
#include "serve/fields.h"
#include "serve/framing.h"
#include "serve/metrics.h"
#include "serve/page.h"
#include "serve/request_error.h"
#include "serve/token_routes.h"

namespace incontext::serve {

using base::Json;
using httplib::Request;
using httplib::Response;

namespace {

constexpr const char* kJson = "application/json";
constexpr int kBacklog = 1024;
constexpr const char* kModelRoute = "/v1/models/";

// The methods of every path; metrics name only these.
const std::map<std::string, std::string>& routes() {
  static const std::map<std::string, std::string> table = {
      {"/", "GET"},          {"/health", "GET"},      {"/metrics", "GET"},         {"/v1/models", "GET"},
      {"/tokenize", "POST"}, {"/detokenize", "POST"}, {"/v1/completions", "POST"}, {"/v1/chat/completions", "POST"}};
  return table;
}

std::string route_of(const std::string& path) {
  if (routes().contains(path)) return path;
  return path.starts_with(kModelRoute) ? "/v1/models/{model}" : "other";
}

// Empty where there is no such route.
std::string method_of(const std::string& path) {
  const auto found = routes().find(path);
  if (found != routes().end()) return found->second;
  return path.starts_with(kModelRoute) ? "GET" : "";
}

std::string random_name() {
  thread_local std::mt19937_64 generator{std::random_device()()};
  return fmt::format("{:016x}{:08x}", generator(), generator() & 0xFFFFFFFF);
}

void set_json(Response& answer, const Json& json) { answer.set_content(dump(json), kJson); }

void set_error(Response& answer, const RequestError& error) {
  answer.status = error.status();
  if (error.status() == 429 || error.status() == 503) answer.set_header("Retry-After", "1");
  set_json(answer, error.body());
}

std::unique_ptr<httplib::Server> make_server(const ServerOptions& options) {
  if (options.tls_certificate.empty() && options.tls_key.empty()) return std::make_unique<httplib::Server>();
  auto server = std::make_unique<httplib::SSLServer>(options.tls_certificate.c_str(), options.tls_key.c_str());
  base::check(server->is_valid(), "TLS: expected a certificate and its key as PEM files, got '{}' and '{}'",
              options.tls_certificate, options.tls_key);
  return server;
}

}  // namespace

struct Server::Parts {
  explicit Parts(const ServerOptions& given)
      : options(given), access(given.keys, given.cors_origins, /*loopback=*/false), http(make_server(given)) {
    http->new_task_queue = [this] { return new ConnectionThreads(static_cast<size_t>(options.max_connections)); };
    http->set_payload_max_length(static_cast<size_t>(options.max_body));
    http->set_keep_alive_max_count(1'000'000);
    http->set_tcp_nodelay(true);
    http->set_read_timeout(10);
    http->set_write_timeout(10);
    http->set_pre_routing_handler(
        [this](const Request& asked, Response& answer) { return refuse_unreadable(asked, answer); });
    http->set_error_handler(httplib::Server::HandlerWithResponse(
        [this](const Request& asked, Response& answer) { return fill_error(asked, answer); }));
    http->set_exception_handler([](const Request&, Response& answer, std::exception_ptr) {
      set_error(answer, RequestError(500, "the request failed"));
    });
    http->set_logger([this](const Request& asked, const Response& answer) {
      metrics->count_request(route_of(asked.path), answer.status);
    });
    add_routes();
    listen();
  }

  void add_routes() {
    http->Options(".*", [this](const Request& asked, Response& answer) { answer_preflight(asked, answer); });
    http->Get("/health", [this](const Request& asked, Response& answer) { answer_health(asked, answer); });
    get("/", [](Backend*, const Request&, Response& answer) {
      answer.set_header(
          "Content-Security-Policy",
          "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; "
          "base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
      answer.set_content(kPage, "text/html; charset=utf-8");
    });
    get("/metrics", [this](Backend* to, const Request&, Response& answer) {
      answer.set_content(to == nullptr ? metrics->text({}, {}) : metrics->text(to->card(), to->status()),
                         "text/plain; version=0.0.4; charset=utf-8");
    });
    get("/v1/models", [this](Backend* to, const Request&, Response& answer) {
      set_json(answer, answer_models(loaded(to), started));
    });
    get("/v1/models/(.+)", [this](Backend* to, const Request& asked, Response& answer) {
      set_json(answer, answer_model(asked.matches[1], loaded(to), started));
    });
    post("/tokenize", [](Backend& to, const Json& body, const Request&, Response& answer) {
      set_json(answer, answer_tokenize(body, to));
    });
    post("/detokenize", [](Backend& to, const Json& body, const Request&, Response& answer) {
      set_json(answer, answer_detokenize(body, to));
    });
    post("/v1/chat/completions", [this](Backend& to, const Json& body, const Request& asked, Response& answer) {
      answer_completion(to, read_chat_request(body, to, options.limits), asked, answer);
    });
    post("/v1/completions", [this](Backend& to, const Json& body, const Request& asked, Response& answer) {
      answer_completion(to, read_completion_request(body, to, options.limits), asked, answer);
    });
  }

  void listen() {
    int socket = -1;
    http->set_socket_options([&socket](int descriptor) {
      socket = descriptor;
      // Only this: the library's own choice would let a second server take the same port.
      const int yes = 1;
      ::setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    });
    errno = 0;
    port = options.port == 0 ? http->bind_to_any_port(options.host)
                             : (http->bind_to_port(options.host, options.port) ? options.port : -1);
    base::check(port > 0, "cannot listen on {}:{}: {}", options.host, options.port,
                errno == 0 ? "no such address" : std::strerror(errno));
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    loopback = ::getsockname(socket, reinterpret_cast<sockaddr*>(&address), &size) == 0 && is_loopback(address);
    access = Access(options.keys, options.cors_origins, loopback);
    ::listen(socket, kBacklog);  // the library asks for 5
    listener = std::thread([this] { http->listen_after_bind(); });
    while (!http->is_running()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

  using GetHandler = std::function<void(Backend*, const Request&, Response&)>;
  using PostHandler = std::function<void(Backend&, const Json&, const Request&, Response&)>;

  void get(const char* path, GetHandler handler) {
    http->Get(path, [this, handler](const Request& asked, Response& answer) {
      guard(asked, answer, [&] {
        check_access(asked);
        handler(backend.load(), asked, answer);
      });
    });
  }

  void post(const char* path, PostHandler handler) {
    http->Post(path, [this, handler](const Request& asked, Response& answer, const httplib::ContentReader& reader) {
      bool whole = true;
      guard(asked, answer, [&] {
        std::exception_ptr refused;
        try {
          check_access(asked);
          loaded(backend);
          check_running();
        } catch (const RequestError&) {
          refused = std::current_exception();
        }
        // Read even so: what is left unread would be taken for the connection's next request.
        const bool discard = refused != nullptr;
        const std::string body =
            in_chunks(asked) ? read_chunks(reader, answer, discard, whole) : read_body(reader, answer, discard, whole);
        if (refused) std::rethrow_exception(refused);
        handler(loaded(backend), parse_body(body), asked, answer);
      });
      if (!whole) close_after(asked, answer);
    });
  }

  std::string read_body(const httplib::ContentReader& reader, const Response& answer, bool discard, bool& whole) const {
    std::string body;
    bool large = false;
    whole = reader([&](const char* data, size_t size) {
      large = large || body.size() + size > static_cast<size_t>(options.max_body);
      if (large) return false;
      if (!discard) body.append(data, size);
      return true;
    });
    if (large || answer.status == 413) throw too_large();
    if (!whole && !discard) refuse("", "the body did not come whole");
    return body;
  }

  RequestError too_large() const {
    return {413, fmt::format("the body is larger than the {} bytes that this server takes", options.max_body)};
  }

  // After take_chunks(): framing_error() lets no other body pass without a length.
  static bool in_chunks(const Request& asked) {
    return !asked.has_header("Content-Length") && !asked.has_header("Transfer-Encoding");
  }

  std::string read_chunks(const httplib::ContentReader& reader, Response& answer, bool discard, bool& whole) const {
    ChunkedBody body(static_cast<size_t>(options.max_body), /*keep=*/!discard);
    reader([&](const char* data, size_t size) { return body.add({data, size}) == ChunkedBody::State::going_on; });
    answer.status = -1;  // to the library, a body that is not read to the connection's end is a fault
    whole = body.state() == ChunkedBody::State::whole && body.excess() == 0;
    if (body.state() == ChunkedBody::State::too_large) throw too_large();
    if (body.excess() > 0) refuse("", "something follows the request: send the next when this one is answered");
    if (!whole && !discard) refuse("", "the body did not come whole");
    return body.take();
  }

  template <class Work>
  void guard(const Request& asked, Response& answer, const Work& work) {
    prepare(asked, answer);
    try {
      work();
    } catch (const RequestError& error) {
      if (error.status() == 401) {
        // Browsers then ask for the key as a password; programs read the message.
        answer.set_header("WWW-Authenticate", asked.path.starts_with("/v1/") ? "Bearer" : "Basic realm=\"incontext\"");
      }
      set_error(answer, error);
    } catch (const base::Error& error) {
      set_error(answer, RequestError(400, error.what()));
    } catch (const std::bad_alloc&) {
      set_error(answer, RequestError(500, "out of memory"));
    } catch (const std::exception&) {
      set_error(answer, RequestError(500, "the request failed"));
    }
  }

  // What every answer has.
  void prepare(const Request& asked, Response& answer) const {
    answer.set_header("X-Request-Id", random_name());
    answer.set_header("X-Content-Type-Options", "nosniff");
    const std::string origin = asked.get_header_value("Origin");
    if (!origin.empty() && access.allows_origin(origin)) {
      answer.set_header("Access-Control-Allow-Origin", origin);
      answer.set_header("Vary", "Origin");
    }
  }

  void check_access(const Request& asked) const {
    access.check_page(asked.get_header_value("Origin"), asked.get_header_value("Host"));
    access.check_key(asked.get_header_value("Authorization"));
  }

  static Backend& loaded(Backend* backend) {
    if (backend == nullptr) throw RequestError(503, "the model is being loaded", "", "loading");
    return *backend;
  }

  void check_running() const {
    if (stopping) throw RequestError(503, "the server is stopping", "", "stopping");
  }

  void answer_health(const Request& asked, Response& answer) {
    prepare(asked, answer);
    const char* status = stopping ? "stopping" : (backend == nullptr ? "loading" : "ok");
    if (std::strcmp(status, "ok") != 0) answer.status = 503;
    set_json(answer, {{"status", status}});
  }

  void answer_preflight(const Request& asked, Response& answer) const {
    prepare(asked, answer);
    const std::string origin = asked.get_header_value("Origin"), method = method_of(asked.path);
    if (origin.empty() && !method.empty()) {  // no browser's, but a question what may be done
      answer.status = 204;
      answer.set_header("Allow", method + ", OPTIONS");
      return;
    }
    if (origin.empty()) return set_error(answer, no_such_route());
    if (!access.allows_origin(origin)) {
      return set_error(answer, RequestError(403, "pages of this origin may not use this server"));
    }
    answer.status = 204;
    answer.set_header("Access-Control-Allow-Methods", "GET, POST");
    const std::string headers = asked.get_header_value("Access-Control-Request-Headers");
    answer.set_header("Access-Control-Allow-Headers", headers.empty() ? "Authorization, Content-Type" : headers);
    answer.set_header("Access-Control-Max-Age", "600");
  }

  static RequestError no_such_route() { return {404, "there is no such route here", "", "unknown_url"}; }

  httplib::Server::HandlerResponse refuse_unreadable(const Request& asked, Response& answer) const {
    // Answers are whole: the library would cut any of them to the Range that a client names.
    const_cast<Request&>(asked).ranges.clear();
    const std::optional<RequestError> error = framing_error(asked);
    if (!error) {
      if (asked.method == "POST" && method_of(asked.path) == "POST") take_chunks(asked);
      return httplib::Server::HandlerResponse::Unhandled;
    }
    prepare(asked, answer);
    set_error(answer, *error);
    close_after(asked, answer);
    return httplib::Server::HandlerResponse::Handled;
  }

  // Errors that the library makes: give them our shape.
  httplib::Server::HandlerResponse fill_error(const Request& asked, Response& answer) {
    if (!answer.body.empty() || answer.content_provider_) return httplib::Server::HandlerResponse::Unhandled;
    prepare(asked, answer);
    const std::string method = method_of(asked.path);
    if (answer.status == 404 && !method.empty() && method != asked.method) {
      answer.set_header("Allow", method);
      set_error(answer, RequestError(405, fmt::format("{} takes {}", route_of(asked.path), method)));
    } else if (answer.status == 404) {
      set_error(answer, no_such_route());
    } else if (answer.status == 413) {
      set_error(answer, RequestError(413, "the body is larger than this server takes"));
    } else {
      set_error(answer, RequestError(answer.status, "the request could not be read"));
      close_after(asked, answer);
    }
    return httplib::Server::HandlerResponse::Handled;
  }

  void answer_completion(Backend& to, CompletionRequest request, const Request& asked, Response& answer) {
    const auto deadline = std::chrono::steady_clock::now() + options.request_timeout;
    const std::shared_ptr<void> ticket = admission->enter(static_cast<int64_t>(request.continuations.size()));
    Answer shape(request, to, random_name());
    auto exchange = std::make_unique<Exchange>(to, metrics, std::move(request.continuations), ticket);
    auto run = std::make_shared<CompletionRun>(std::move(exchange), std::move(shape), Connection(asked), deadline);
    if (!request.stream) return set_json(answer, run->wait());
    answer.set_header("Cache-Control", "no-cache");
    answer.set_header("X-Accel-Buffering", "no");
    const bool closes = ends_with_connection(asked);
    const auto provide = [run, closes](size_t, httplib::DataSink& sink) {
      bool done = false;
      const std::optional<std::string> events = run->next(done);
      if (!events || (!events->empty() && !sink.write(events->data(), events->size()))) return false;
      if (done) sink.done();
      return !done || !closes;
    };
    if (closes) {
      answer.set_content_provider("text/event-stream", provide);
    } else {
      answer.set_chunked_content_provider("text/event-stream", provide);
    }
  }

  void stop() {
    if (!listener.joinable()) return;
    stopping = true;
    if (admission) {
      admission->close();
      admission->wait_until_empty();
    }
    http->stop();
    listener.join();
  }

  ServerOptions options;
  Access access;
  std::shared_ptr<Metrics> metrics = std::make_shared<Metrics>();
  std::unique_ptr<Admission> admission;
  std::unique_ptr<httplib::Server> http;
  std::thread listener;
  std::atomic<Backend*> backend{nullptr};
  std::atomic<bool> stopping{false};
  int64_t started = static_cast<int64_t>(std::time(nullptr));
  int port = -1;
  bool loopback = false;  // only this machine reaches the address that is listened on
};

Server::Server(const ServerOptions& options) : parts_(std::make_unique<Parts>(options)) {}

Server::~Server() { stop(); }

std::string Server::url() const {
  const ServerOptions& options = parts_->options;
  const bool brackets = options.host.find(':') != std::string::npos;
  return fmt::format("{}://{}{}{}:{}", options.tls_certificate.empty() ? "http" : "https", brackets ? "[" : "",
                     options.host, brackets ? "]" : "", parts_->port);
}

int Server::port() const { return parts_->port; }

bool Server::loopback() const { return parts_->loopback; }

void Server::serve(Backend& backend) {
  INCONTEXT_ASSERT(!parts_->admission);
  parts_->admission = std::make_unique<Admission>(backend.card().max_batch + parts_->options.max_waiting);
  parts_->backend = &backend;
}

void Server::stop() { parts_->stop(); }

}  // namespace incontext::serve
