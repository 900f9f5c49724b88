#pragma once

#include <filesystem>
#include <functional>

#include "hub/environment.h"
#include "hub/listing.h"
#include "hub/model_name.h"
#include "hub/patience.h"

namespace incontext::hub {

struct DownloadOptions {
  Environment environment = read_environment();
  /// Nothing on stderr, neither progress nor notes about retries.
  bool quiet = false;
  /// Asked several times a second; true ends the download with an Error, and what has come stays for the next time.
  /// Without it a signal ends the process, and what has come stays all the same.
  std::function<bool()> stop_requested = {};
  RetrySettings retry = {};
};

/// Asks the hub which commit the revision names and which files it has.
Listing list_files(const ModelName& name, const DownloadOptions& options);

/// Brings what running the model takes (select_for_inference()) into the cache, in the layout of the Hugging Face
/// tools, and returns the folder snapshots/<commit>. Files already there are not fetched, and interrupted ones are
/// continued. The revision is asked for at the hub even when it is in the cache: this is how a branch is brought up to
/// date; refs/<revision> changes once all files are there. Errors say what is missing: a token, a licence to accept,
/// room on the disk, safetensors in the repository, the network (HF_HUB_OFFLINE forbids it).
std::filesystem::path download_model(const ModelName& name, const DownloadOptions& options);

}  // namespace incontext::hub
