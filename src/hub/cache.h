#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "hub/model_name.h"

namespace incontext::hub {

/// Whether something is at a path, links followed; false also where nobody may look.
bool is_there(const std::filesystem::path& path);

/// The folder of one model in a cache of the Hugging Face tools, shared with them:
///
///   <cache>/models--org--name/refs/<revision>            the commit that a branch or tag named when last asked
///                            /blobs/<etag>               the bytes, by digest
///                            /snapshots/<commit>/<file>  relative links into blobs
///   <cache>/.locks/models--org--name/<etag>.lock         held by the process that downloads that blob
class ModelCache {
 public:
  ModelCache(const std::filesystem::path& cache, const std::string& repository);

  const std::filesystem::path& folder() const { return folder_; }
  std::filesystem::path blob(const std::string& etag) const { return folder_ / "blobs" / etag; }
  /// The part of a blob that has come so far.
  std::filesystem::path incomplete(const std::string& etag) const { return folder_ / "blobs" / (etag + ".incomplete"); }
  std::filesystem::path lock(const std::string& etag) const { return locks_ / (etag + ".lock"); }
  std::filesystem::path snapshot(const std::string& commit) const { return folder_ / "snapshots" / commit; }

  /// The commit that a revision names here; "" when that is not known.
  std::string commit_of(const std::string& revision) const;
  /// Notes which commit a branch or tag names. Nothing is noted for a commit, which names itself.
  void write_ref(const std::string& revision, const std::string& commit) const;
  /// Puts the file of a snapshot there as a relative link to its blob, at once, in the place of what may be there.
  void link(const std::string& commit, const std::string& file, const std::string& etag) const;

 private:
  std::filesystem::path folder_;
  std::filesystem::path locks_;
};

/// What a cache holds of a model: the folder to read it from, or why there is none.
struct CachedModel {
  std::filesystem::path snapshot = {};
  std::string problem = {};  // "" when the snapshot is whole; else fit for the middle of a sentence
};

/// Looks a model up without any network call. A snapshot is whole when it has config.json and all weights that its
/// index names; links that lead nowhere count as missing.
CachedModel find_cached(const std::filesystem::path& cache, const ModelName& name);

}  // namespace incontext::hub
