#include "hub/fetch.h"

#include <fmt/format.h>

#include <fstream>
#include <optional>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "hub/blob_digest.h"
#include "hub/file_lock.h"

namespace incontext::hub {
namespace {

namespace fs = std::filesystem;

// The .incomplete file together with the digest of what it holds.
class PartialBlob {
 public:
  PartialBlob(const fs::path& path, const RemoteBlob& blob, TransferReport& report)
      : path_(path), blob_(blob), report_(report), digest_(blob.etag, blob.size) {
    if (bytes_there(path_) > blob_.size) base::truncate_file(path_, 0);
    file_.emplace(path_);
    resumed_ = size() > 0;
    if (resumed_) add_what_is_there();
    report_.was_there(size());
  }

  uint64_t size() const { return file_->size(); }
  /// Whether it holds bytes that an earlier run brought.
  bool resumed() const { return resumed_; }

  void append(std::string_view bytes) {
    base::check(size() + bytes.size() <= blob_.size, "{}: expected {} bytes, the server sends more", blob_.where,
                blob_.size);
    try {
      file_->append(bytes);
    } catch (const base::Error& error) {
      base::fail("{}; {} of {} are kept, and the same command continues once this is mended", error.what(),
                 base::format_bytes(static_cast<double>(size())), base::format_bytes(static_cast<double>(blob_.size)));
    }
    digest_.add(bytes.data(), bytes.size());
    report_.came(bytes.size());
  }

  void start_over() {
    report_.lost(size());
    base::truncate_file(path_, 0);
    file_.emplace(path_);
    digest_.restart();
    resumed_ = false;
  }

  std::string digest_difference() { return digest_.difference(); }
  void sync() { file_->sync(); }

  void remove() {
    report_.lost(size());
    file_.reset();
    std::error_code ignored;
    fs::remove(path_, ignored);
  }

 private:
  void add_what_is_there() {
    std::ifstream file(path_, std::ios::binary);
    std::vector<char> buffer(1 << 20);
    uint64_t left = size();
    while (left > 0 && file) {
      file.read(buffer.data(), static_cast<std::streamsize>(std::min<uint64_t>(buffer.size(), left)));
      const auto count = static_cast<size_t>(file.gcount());
      digest_.add(buffer.data(), count);
      left -= count;
    }
    base::check(left == 0, "{}: cannot read", path_.string());
  }

  fs::path path_;
  const RemoteBlob& blob_;
  TransferReport& report_;
  BlobDigest digest_;
  std::optional<base::AppendFile> file_;
  bool resumed_ = false;
};

// Bytes that the answer says the whole blob has.
std::optional<uint64_t> told_size(const HttpAnswer& answer) {
  if (answer.status == 200) return answer.number("content-length");
  const std::string range = answer.header("content-range");  // "bytes 5-9/10"
  HttpAnswer total{.headers = {{"total", range.substr(range.find('/') + 1)}}};
  return total.number("total");
}

// One request. Returns the answer; bytes went to `part`.
HttpAnswer continue_part(HttpClient& client, const RemoteBlob& blob, PartialBlob& part,
                         std::chrono::milliseconds silence) {
  bool first = true;
  return client.get(blob.url, part.size(), silence, [&](const HttpAnswer& answer, std::string_view bytes) {
    if (first) {
      const std::optional<uint64_t> told = told_size(answer);
      base::check(!told || *told == blob.size, "{}: expected {} bytes, the server has {}", blob.where, blob.size,
                  told.value_or(0));
      if (answer.status == 206) {
        base::check(answer.header("content-range").starts_with(fmt::format("bytes {}-", part.size())),
                    "{}: asked for the bytes from {} on, got '{}'", blob.where, part.size(),
                    base::printable(answer.header("content-range")));
      } else if (part.size() > 0) {
        part.start_over();  // a server that knows no ranges
      }
    }
    first = false;
    part.append(bytes);
  });
}

void fetch_all(HttpClient& client, const RemoteBlob& blob, PartialBlob& part, const FetchSettings& settings,
               TransferReport& report, const std::function<void(const HttpAnswer&)>& refused) {
  Patience patience(settings.retry, settings.stop_requested, report);
  while (part.size() < blob.size) {
    const uint64_t before = part.size();
    try {
      const HttpAnswer answer = continue_part(client, blob, part, settings.silence);
      if (answer.status != 200 && answer.status != 206) refused(answer);
      if (part.size() < blob.size) {
        throw TransientError(
            fmt::format("{}: expected {} bytes, the server sent {}", blob.where, blob.size, part.size()));
      }
    } catch (const TransientError& error) {
      if (part.size() > before) patience.progressed();
      patience.failed(error);
    }
  }
}

}  // namespace

uint64_t bytes_there(const fs::path& path) {
  std::error_code error;
  const uint64_t size = fs::file_size(path, error);
  return error ? 0 : size;
}

void check_room(const fs::path& folder, uint64_t bytes, const std::string& where) {
  std::error_code error;
  const fs::space_info space = fs::space(folder, error);
  if (error) return;  // a file system that does not tell; writing will
  base::check(bytes <= space.available, "{}: needs {} more in {}, which has {} free", where,
              base::format_bytes(static_cast<double>(bytes)), folder.string(),
              base::format_bytes(static_cast<double>(space.available)));
}

void fetch_blob(HttpClient& client, const ModelCache& cache, const RemoteBlob& blob, const FetchSettings& settings,
                TransferReport& report, const std::function<void(const HttpAnswer&)>& refused) {
  const fs::path whole = cache.blob(blob.etag);
  const FileLock lock(
      cache.lock(blob.etag), [&] { report.note(blob.where + ": another process is fetching it; waiting"); },
      [&] { check_not_stopped(settings.stop_requested); });
  // Asked under the lock: the process that held it may have brought the blob.
  if (is_there(whole)) {
    report.was_there(blob.size);
    return;
  }

  base::make_directories(whole.parent_path());
  check_room(whole.parent_path(), blob.size - std::min(blob.size, bytes_there(cache.incomplete(blob.etag))),
             blob.where);
  PartialBlob part(cache.incomplete(blob.etag), blob, report);
  fetch_all(client, blob, part, settings, report, refused);
  std::string difference = part.digest_difference();
  if (!difference.empty() && part.resumed()) {
    report.note(fmt::format("{}: what an earlier run left is damaged; fetching all of it again", blob.where));
    part.start_over();
    fetch_all(client, blob, part, settings, report, refused);
    difference = part.digest_difference();
  }
  if (!difference.empty()) {
    part.remove();
    base::fail("{}: the bytes are damaged: {}; they were removed", blob.where, difference);
  }
  part.sync();
  base::rename_into_place(cache.incomplete(blob.etag), whole);
}

}  // namespace incontext::hub
