#include "hub/fake_hub.h"

#include <fmt/format.h>
#include <httplib.h>
#include <openssl/evp.h>

#include <chrono>
#include <cstdlib>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

namespace incontext::hub::testing {
namespace {

constexpr const char* kModel = "org/tiny";

std::string digest(const EVP_MD* algorithm, const std::string& bytes) {
  unsigned char out[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  ::EVP_Digest(bytes.data(), bytes.size(), out, &length, algorithm, nullptr);
  std::string text;
  for (unsigned int i = 0; i < length; ++i) text += fmt::format("{:02x}", out[i]);
  return text;
}

}  // namespace

struct FakeHub::Servers {
  explicit Servers(FakeHub& hub) : hub_(hub) {
    // Machines behind a proxy would ask it for our ports.
    ::setenv("no_proxy", "127.0.0.1", 1);
    front.Get(R"(/api/models/org/tiny/revision/(.+))", [this](const auto& q, auto& a) { answer_listing(q, a); });
    front.Get(R"(/org/tiny/resolve/([0-9a-f]+)/(.+))", [this](const auto& q, auto& a) { answer_file(q, a); });
    front.Get(R"((/api/models|)/org/old/(.+))", [](const auto& q, auto& a) {
      a.set_redirect(q.matches[1].str() + "/org/tiny/" + q.matches[2].str(), 307);
    });
    front.Get(R"(/api/models/org/loop/.+)", [](const auto& q, auto& a) { a.set_redirect(q.path, 307); });
    front.set_pre_routing_handler([this](const auto& q, auto& a) { return before(false, q, a); });
    storage.Get(R"(/store/(.+))", [this](const auto& q, auto& a) { answer_storage(q, a); });
    storage.set_pre_routing_handler([this](const auto& q, auto& a) { return before(true, q, a); });
    for (httplib::Server* server : {&front, &storage}) server->set_keep_alive_timeout(1);
    front_port = front.bind_to_any_port("127.0.0.1");
    storage_port = storage.bind_to_any_port("127.0.0.1");
    front_thread = std::thread([this] { front.listen_after_bind(); });
    storage_thread = std::thread([this] { storage.listen_after_bind(); });
    while (!front.is_running() || !storage.is_running()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

  ~Servers() {
    front.stop();
    storage.stop();
    front_thread.join();
    storage_thread.join();
  }

  httplib::Server::HandlerResponse before(bool at_storage, const httplib::Request& asked, httplib::Response& answer) {
    const std::lock_guard lock(mutex);
    requests.push_back({.storage = at_storage,
                        .method = asked.method,
                        .path = asked.path,
                        .target = asked.target,
                        .authorization = asked.get_header_value("Authorization"),
                        .range = asked.get_header_value("Range")});
    if (at_storage) return httplib::Server::HandlerResponse::Unhandled;
    if (hub_.overloads > 0) {
      --hub_.overloads;
      answer.status = 503;
      if (!hub_.retry_after.empty()) answer.set_header("Retry-After", hub_.retry_after);
    } else if (hub_.refuse_status != 0) {
      answer.status = hub_.refuse_status;
      answer.set_header("X-Error-Code", hub_.refuse_code);
      answer.set_header("X-Error-Message", hub_.refuse_message);
    } else if (!hub_.token.empty() && asked.get_header_value("Authorization") != "Bearer " + hub_.token) {
      answer.status = 401;
    } else {
      return httplib::Server::HandlerResponse::Unhandled;
    }
    return httplib::Server::HandlerResponse::Handled;
  }

  void answer_listing(const httplib::Request& asked, httplib::Response& answer) {
    const std::string revision = asked.matches[1];
    const auto named = hub_.revisions.find(revision);
    if (revision != "main" && revision != hub_.commit && named == hub_.revisions.end()) {
      answer.status = 404;
      answer.set_header("X-Error-Code", "RevisionNotFound");
      return;
    }
    nlohmann::json document = {{"id", kModel}, {"sha", hub_.commit}, {"siblings", nlohmann::json::array()}};
    for (const auto& [name, file] : hub_.files) {
      nlohmann::json entry = {{"rfilename", name}, {"size", told_size(file)}, {"blobId", git_digest(file.content)}};
      if (file.large) {
        entry["lfs"] = {{"sha256", hub_.etag_of(name)}, {"size", told_size(file)}, {"pointerSize", 134}};
      }
      document["siblings"].push_back(entry);
    }
    answer.set_content(hub_.listing.empty() ? document.dump() : hub_.listing, "application/json");
  }

  void answer_file(const httplib::Request& asked, httplib::Response& answer) {
    const auto found = hub_.files.find(asked.matches[2]);
    if (asked.matches[1] != hub_.commit || found == hub_.files.end()) {
      answer.status = 404;
      answer.set_header("X-Error-Code", "EntryNotFound");
      return;
    }
    const auto& [name, file] = *found;
    answer.set_header("X-Repo-Commit", hub_.answered_commit.empty() ? hub_.commit : hub_.answered_commit);
    answer.set_header("ETag", "\"" + git_digest(file.content) + "\"");
    if (!file.large) {
      answer.set_content(file.sent.value_or(file.content), "application/octet-stream");
      return;
    }
    answer.set_header("X-Linked-ETag", "\"" + hub_.etag_of(name) + "\"");
    answer.set_header("X-Linked-Size", std::to_string(told_size(file)));
    answer.set_redirect(fmt::format("http://127.0.0.1:{}/store/{}?signature=secret", storage_port, name), 302);
  }

  void answer_storage(const httplib::Request& asked, httplib::Response& answer) {
    const FakeFile& file = hub_.files.at(asked.matches[1]);
    const std::string bytes = file.sent.value_or(file.content);
    size_t most = bytes.size();
    bool drop = false;
    {
      const std::lock_guard lock(mutex);
      if (asked.method == "GET" && !hub_.drops.empty()) {
        most = hub_.drops.front();
        drop = true;
        hub_.drops.erase(hub_.drops.begin());
      }
    }
    if (!hub_.ranges) const_cast<httplib::Request&>(asked).ranges.clear();
    auto sent = std::make_shared<size_t>(0);
    answer.set_content_provider(bytes.size(), "application/octet-stream",
                                [this, bytes, most, drop, sent](size_t offset, size_t length, httplib::DataSink& sink) {
                                  if (drop && *sent >= most) return false;
                                  std::this_thread::sleep_for(std::chrono::milliseconds(hub_.storage_delay_ms));
                                  const size_t count = std::min({length, most - *sent, size_t{16384}});
                                  *sent += count;
                                  return sink.write(bytes.data() + offset, count);
                                });
  }

  static std::string git_digest(const std::string& content) {
    return digest(::EVP_sha1(), fmt::format("blob {}", content.size()) + '\0' + content);
  }

  static uint64_t told_size(const FakeFile& file) { return file.told_size.value_or(file.content.size()); }

  FakeHub& hub_;
  httplib::Server front, storage;
  int front_port = 0, storage_port = 0;
  std::thread front_thread, storage_thread;
  mutable std::mutex mutex;
  std::vector<FakeRequest> requests;
};

FakeHub::FakeHub() {
  files["config.json"] = {.content = R"({"model_type": "tiny"})"};
  files["tokenizer.json"] = {.content = R"({"model": {}})"};
  files["README.md"] = {.content = "# tiny"};
  files["pytorch_model.bin"] = {.content = "pickles", .large = true};
  std::string weights;
  for (int i = 0; i < 200'000; ++i) weights += static_cast<char>(i * 7 % 251);
  files["model.safetensors"] = {.content = weights, .large = true};
  servers_ = std::make_unique<Servers>(*this);
}

FakeHub::~FakeHub() = default;

std::string FakeHub::endpoint() const { return fmt::format("http://127.0.0.1:{}", servers_->front_port); }

std::string FakeHub::storage() const { return fmt::format("http://127.0.0.1:{}", servers_->storage_port); }

std::vector<FakeRequest> FakeHub::requests() const {
  const std::lock_guard lock(servers_->mutex);
  return servers_->requests;
}

int FakeHub::gets(const std::string& end) const {
  int count = 0;
  for (const FakeRequest& request : requests()) count += request.method == "GET" && request.path.ends_with(end) ? 1 : 0;
  return count;
}

std::string FakeHub::etag_of(const std::string& file) const {
  const FakeFile& found = files.at(file);
  if (found.etag) return *found.etag;
  return found.large ? digest(::EVP_sha256(), found.content) : Servers::git_digest(found.content);
}

DownloadOptions FakeHub::options_for(const std::string& endpoint, const std::filesystem::path& cache) {
  Environment environment;
  environment.cache = cache;
  environment.endpoint = endpoint;
  return {.environment = environment,
          .quiet = true,
          .stop_requested = {},
          .retry = {.attempts = 3, .first_wait = std::chrono::milliseconds(5)}};
}

}  // namespace incontext::hub::testing
