#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hub/download.h"

namespace incontext::hub::testing {

struct FakeFile {
  std::string content;
  bool large = false;                                // kept on the storage server, named by its SHA-256
  std::optional<std::string> sent = std::nullopt;    // bytes that come in place of the content
  std::optional<std::string> etag = std::nullopt;    // in the place of its digest
  std::optional<uint64_t> told_size = std::nullopt;  // in the place of its size, in listing and headers
};

struct FakeRequest {
  bool storage = false;  // which of the two servers
  std::string method;
  std::string path;
  std::string target;  // path and query as they came, still encoded
  std::string authorization;
  std::string range;
};

/// Plays a model hub on two loopback ports: one answers about models and holds small files, one stores the large ones.
/// It knows the model org/tiny, which was org/old before; org/loop redirects to itself. Fields may be changed while no
/// request runs.
class FakeHub {
 public:
  FakeHub();
  ~FakeHub();
  FakeHub(const FakeHub&) = delete;
  FakeHub& operator=(const FakeHub&) = delete;

  std::string endpoint() const;
  std::string storage() const;
  /// What the servers were asked so far, in order.
  std::vector<FakeRequest> requests() const;
  /// How many GETs there were whose path ends like this.
  int gets(const std::string& end) const;
  std::string etag_of(const std::string& file) const;
  /// Options that lead here, to a cache in `cache`, with short waits.
  DownloadOptions options(const std::filesystem::path& cache) const { return options_for(endpoint(), cache); }
  static DownloadOptions options_for(const std::string& endpoint, const std::filesystem::path& cache);

  std::string commit = std::string(40, 'a');
  std::map<std::string, std::string> revisions;  // names of the commit, beside main
  std::map<std::string, FakeFile> files;
  std::string token;                      // asked for, if not ""
  int refuse_status = 0;                  // answers everything with this
  std::string refuse_code;                // and this X-Error-Code
  std::string refuse_message;             // and this X-Error-Message
  std::vector<size_t> drops;              // the next GETs of a large file end after so many bytes
  std::string retry_after;                // the Retry-After of those answers, if not ""
  int overloads = 0;                      // the next requests to the first server are answered 503
  bool ranges = true;                     // whether the storage knows ranges
  std::string listing;                    // in place of the true one, if not ""
  std::string answered_commit;            // X-Repo-Commit, if not the true one
  std::atomic<int> storage_delay_ms = 0;  // before each piece of a large file; may change while requests run

 private:
  struct Servers;
  std::unique_ptr<Servers> servers_;
};

}  // namespace incontext::hub::testing
