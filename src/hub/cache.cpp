#include "hub/cache.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace incontext::hub {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

std::string folder_name(const std::string& repository) {
  std::string name = "models--";
  for (const char c : repository) name += c == '/' ? std::string("--") : std::string(1, c);
  return name;
}

std::vector<std::string> entries_of(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->is_regular_file(error)) names.push_back(fs::relative(entry->path(), folder, error).string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// The files that an index of weights names; none when it cannot be read, which is for the reader of weights to tell.
std::set<std::string> shards_of(const fs::path& index) {
  std::set<std::string> shards;
  const Json document = Json::parse(base::read_file(index), nullptr, false);
  if (!document.is_object() || !document.contains("weight_map") || !document["weight_map"].is_object()) return shards;
  for (const auto& [tensor, shard] : document["weight_map"].items()) {
    if (shard.is_string() && is_safe_relative(shard.get_ref<const std::string&>())) shards.insert(shard);
  }
  return shards;
}

std::string missing_from(const fs::path& snapshot) {
  if (!is_there(snapshot / "config.json")) return "config.json is missing";
  if (is_there(snapshot / "model.safetensors")) return "";
  if (const fs::path index = snapshot / "model.safetensors.index.json"; is_there(index)) {
    for (const std::string& shard : shards_of(index)) {
      if (!is_there(snapshot / shard)) return fmt::format("{} is missing", shard);
    }
    return "";
  }
  // Weights by another name may be all there is, unless a shard tells that an index is still to come.
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(snapshot, error)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".safetensors") && is_there(entry.path())) {
      return name.find("-of-") == std::string::npos ? "" : "model.safetensors.index.json is missing";
    }
  }
  return "model.safetensors is missing";
}

}  // namespace

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

ModelCache::ModelCache(const fs::path& cache, const std::string& repository)
    : folder_(cache / folder_name(repository)), locks_(cache / ".locks" / folder_name(repository)) {}

std::string ModelCache::commit_of(const std::string& revision) const {
  if (is_commit(revision)) return revision;
  const fs::path ref = folder_ / "refs" / revision;
  std::error_code ignored;
  if (!fs::is_regular_file(ref, ignored)) return "";
  const std::string commit(base::trim(base::read_file(ref)));
  base::check(is_commit(commit), "{}: expected a commit of 40 hexadecimal digits, got '{}'", ref.string(),
              base::clip(base::printable(commit), 60));
  return commit;
}

void ModelCache::write_ref(const std::string& revision, const std::string& commit) const {
  if (revision == commit) return;
  const fs::path ref = folder_ / "refs" / revision;
  base::make_directories(ref.parent_path());
  base::write_file_atomic(ref, commit);
}

void ModelCache::link(const std::string& commit, const std::string& file, const std::string& etag) const {
  const fs::path place = snapshot(commit) / file;
  base::make_directories(place.parent_path());
  fs::path target = "../..";
  for (const char c : file) {
    if (c == '/') target /= "..";
  }
  target = target / "blobs" / etag;
  // Renamed into place: two processes may link the same file, and a link that leads nowhere may be there.
  static std::atomic<int> links{0};
  const fs::path temporary =
      place.parent_path() / fmt::format(".{}.{}.{}", place.filename().string(), ::getpid(), links++);
  ::unlink(temporary.c_str());  // of a process of the same number that was killed here
  if (::symlink(target.c_str(), temporary.c_str()) != 0) {
    base::fail("{}: cannot link to {}: {}", place.string(), target.string(), std::strerror(errno));
  }
  base::rename_into_place(temporary, place);
}

CachedModel find_cached(const fs::path& cache, const ModelName& name) {
  const ModelCache place(cache, name.repository);
  if (!is_there(place.folder())) return {.problem = fmt::format("{} has no such model", cache.string())};
  const std::string commit = place.commit_of(name.revision);
  if (commit.empty()) {
    const std::vector<std::string> known = entries_of(place.folder() / "refs");
    return {.problem = fmt::format("{} has no revision '{}' of it{}", cache.string(), name.revision,
                                   known.empty() ? "" : " (it has " + base::enumerate_names(known) + ")")};
  }
  const fs::path snapshot = place.snapshot(commit);
  if (!is_there(snapshot)) return {.problem = fmt::format("{} has no commit {} of it", cache.string(), commit)};
  if (const std::string missing = missing_from(snapshot); !missing.empty()) {
    return {.problem = fmt::format("{} is not whole ({})", snapshot.string(), missing)};
  }
  return {.snapshot = snapshot};
}

}  // namespace incontext::hub
