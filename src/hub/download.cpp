#include "hub/download.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "hub/cache.h"
#include "hub/fetch.h"
#include "hub/http.h"
#include "hub/refusal.h"
#include "hub/transfer_report.h"
#include "hub/url.h"

namespace incontext::hub {
namespace {

namespace fs = std::filesystem;

std::string normal_etag(std::string etag) {
  if (etag.starts_with("W/")) etag.erase(0, 2);
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"') etag = etag.substr(1, etag.size() - 2);
  return etag;
}

// One download of one model: everything its steps share.
class Download {
 public:
  Download(const ModelName& name, const DownloadOptions& options)
      : name_(name),
        options_(options),
        environment_(options.environment),
        token_(read_token(options.environment)),
        report_(options.quiet, options.environment.progress_bars),
        client_({.endpoint = environment_.endpoint,
                 .token = token_,
                 .certificates = environment_.certificates,
                 .stop_requested = options.stop_requested}),
        cache_(environment_.cache, name.repository) {}

  Listing list() {
    constexpr size_t kMostBytes = 64 << 20;
    const std::string url = fmt::format("{}/api/models/{}/revision/{}?blobs=true", environment_.endpoint,
                                        name_.repository, percent_encode(name_.revision, false));
    return with_patience(patience(), [&] {
      std::string json;
      const HttpAnswer answer =
          client_.get(url, 0, environment_.etag_timeout, [&](const HttpAnswer&, std::string_view bytes) {
            base::check(json.size() + bytes.size() <= kMostBytes, "{}: the list of files is longer than {} bytes",
                        name_.text(), kMostBytes);
            json += bytes;
          });
      if (answer.status != 200) refuse(answer);
      return read_listing(json, fmt::format("{}: {}", name_.text(), shown_url(url)));
    });
  }

  fs::path fetch(const Listing& listing) {
    const std::vector<HubFile> files = selection(listing);
    announce(listing.commit, files);
    for (const HubFile& file : files) {
      if (is_linked(listing.commit, file)) continue;
      report_.file(file.name);
      const RemoteBlob blob = describe(listing.commit, file);
      fetch_blob(client_, cache_, blob,
                 {.silence = environment_.download_timeout,
                  .retry = options_.retry,
                  .stop_requested = options_.stop_requested},
                 report_, [&](const HttpAnswer& answer) { refuse(answer); });
      cache_.link(listing.commit, file.name, blob.etag);
    }
    cache_.write_ref(name_.revision, listing.commit);
    return cache_.snapshot(listing.commit);
  }

 private:
  Patience patience() { return {options_.retry, options_.stop_requested, report_}; }

  [[noreturn]] void refuse(const HttpAnswer& answer) const {
    fail_refused(answer, name_, environment_, !token_.empty());
  }

  bool is_linked(const std::string& commit, const HubFile& file) const {
    return is_there(cache_.snapshot(commit) / file.name);
  }

  std::vector<HubFile> selection(const Listing& listing) const {
    const std::vector<HubFile> files = select_for_inference(listing.files);
    const auto has = [](const std::vector<HubFile>& all, std::string_view end) {
      return std::any_of(all.begin(), all.end(), [&](const HubFile& file) { return file.name.ends_with(end); });
    };
    base::check(has(files, ".safetensors"), "{}: expected weights in *.safetensors, found {}", name_.text(),
                has(listing.files, ".bin")    ? "pytorch_model.bin or the like only"
                : has(listing.files, ".gguf") ? "GGUF files only"
                                              : "none");
    base::check(has(files, "config.json"), "{}: expected a config.json, found none", name_.text());
    return files;
  }

  // Begins the progress line, and tells at once if the disk is too small for what is to come.
  void announce(const std::string& commit, const std::vector<HubFile>& files) {
    uint64_t total = 0, needed = 0;
    for (const HubFile& file : files) {
      if (is_linked(commit, file) || !file.size) continue;
      total += *file.size;
      if (file.etag.empty() || is_there(cache_.blob(file.etag))) continue;
      needed += *file.size - std::min(*file.size, bytes_there(cache_.incomplete(file.etag)));
    }
    base::make_directories(cache_.folder());
    check_room(cache_.folder(), needed, name_.text());
    report_.begin("Downloading " + name_.text(), total);
  }

  // Asks about one file; commit and not revision, so that all files are of one state of the repository.
  RemoteBlob describe(const std::string& commit, const HubFile& file) {
    const std::string where = name_.text() + ": " + file.name;
    const std::string url = fmt::format("{}/{}/resolve/{}/{}", environment_.endpoint, name_.repository, commit,
                                        percent_encode(file.name, true));
    const HttpAnswer answer = with_patience(patience(), [&] { return client_.head(url, environment_.etag_timeout); });
    if (answer.status != 200) refuse(answer);
    const std::string answered = answer.header("x-repo-commit");
    base::check(answered.empty() || answered == commit, "{}: expected commit {}, the hub answers for '{}'", where,
                commit, base::clip(base::printable(answered), 60));
    const std::string linked = answer.header("x-linked-etag");
    const std::string etag = normal_etag(linked.empty() ? answer.header("etag") : linked);
    base::check(is_safe_relative(etag) && etag.find('/') == std::string::npos,
                "{}: expected an etag fit for a file name, got '{}'", where, base::clip(base::printable(etag), 80));
    std::optional<uint64_t> size = answer.number("x-linked-size");
    if (!size) size = answer.number("content-length");
    if (!size) size = file.size;
    base::check(size.has_value(), "{}: the hub does not tell how many bytes it has", where);
    return {.where = where, .url = url, .etag = etag, .size = size.value_or(0)};
  }

  const ModelName& name_;
  const DownloadOptions& options_;
  const Environment& environment_;
  std::string token_;
  TransferReport report_;
  HttpClient client_;
  ModelCache cache_;
};

void check_online(const ModelName& name, const Environment& environment) {
  base::check(!environment.offline, "{}: HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) forbids to ask {}", name.text(),
              shown_url(environment.endpoint));
}

}  // namespace

Listing list_files(const ModelName& name, const DownloadOptions& options) {
  check_online(name, options.environment);
  return Download(name, options).list();
}

fs::path download_model(const ModelName& name, const DownloadOptions& options) {
  check_online(name, options.environment);
  base::check(!options.environment.cache.empty(), "{}: no folder to download to: set HF_HOME or HF_HUB_CACHE",
              name.text());
  Download download(name, options);
  return download.fetch(download.list());
}

}  // namespace incontext::hub
