#pragma once

#include <filesystem>
#include <string>

#include "hub/download.h"

namespace incontext::hub {

struct FindOptions {
  /// Fetch what the cache lacks. Without it nothing ever goes over the network.
  bool download = false;
  /// What the user types to have `download`, for the message that says so.
  std::string download_flag = "--download";
  DownloadOptions transfer = {};
};

/// The folder that MODEL names. An existing folder is used as it is. Otherwise "org/name" or "org/name@revision" is
/// looked up in the cache of the Hugging Face tools, where a branch names the commit it named when last downloaded,
/// and fetched if it is not there whole and options.download asks for it. A model whole in the cache costs no
/// network call even then. Errors say where it was looked for and what would bring it.
std::filesystem::path find_model(const std::string& model, const FindOptions& options);

}  // namespace incontext::hub
