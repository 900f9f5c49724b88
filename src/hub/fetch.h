#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "hub/cache.h"
#include "hub/http.h"
#include "hub/patience.h"
#include "hub/transfer_report.h"

namespace incontext::hub {

/// A blob to fetch, as the hub's headers describe it.
struct RemoteBlob {
  std::string where;  // begins messages: "org/name: model.safetensors"
  std::string url;
  std::string etag;
  uint64_t size = 0;  // bytes
};

struct FetchSettings {
  std::chrono::milliseconds silence{10'000};
  RetrySettings retry = {};
  std::function<bool()> stop_requested = {};
};

/// Brings a blob into the cache, or finds it there. One process at a time fetches a blob; the others wait for it.
/// Bytes go to the .incomplete file, from where a later call continues, and the blob appears whole, with its size and
/// its digest checked, or not at all. An answer other than 200 or 206 goes to `refused`, which throws. Errors: a blob
/// of another size or digest (its bytes are removed), a full disk, a connection that stays broken, a stop request.
void fetch_blob(HttpClient& client, const ModelCache& cache, const RemoteBlob& blob, const FetchSettings& settings,
                TransferReport& report, const std::function<void(const HttpAnswer&)>& refused);

/// Throws unless the file system of `folder` has room for `bytes` more.
void check_room(const std::filesystem::path& folder, uint64_t bytes, const std::string& where);

/// Bytes of a file, 0 when there is none.
uint64_t bytes_there(const std::filesystem::path& path);

}  // namespace incontext::hub
