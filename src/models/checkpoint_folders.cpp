#include "models/checkpoint_folders.h"

#include <algorithm>
#include <vector>

#include "base/text.h"

namespace incontext::models {
namespace {

namespace fs = std::filesystem;

std::optional<int64_t> step_of_name(const std::string& name) {
  if (!name.starts_with(kCheckpointPrefix)) return std::nullopt;
  return base::whole_number(name.substr(std::string(kCheckpointPrefix).size()));
}

// (step, path), oldest first.
std::vector<std::pair<int64_t, fs::path>> list_checkpoints(const fs::path& run) {
  std::vector<std::pair<int64_t, fs::path>> found;
  if (!fs::is_directory(run)) return found;
  for (const fs::directory_entry& entry : fs::directory_iterator(run)) {
    if (!entry.is_directory()) continue;
    if (const auto step = step_of_name(entry.path().filename().string())) found.emplace_back(*step, entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

std::optional<fs::path> latest_checkpoint(const fs::path& run) {
  const auto found = list_checkpoints(run);
  if (found.empty()) return std::nullopt;
  return found.back().second;
}

int64_t step_of_checkpoint(const fs::path& folder) {
  const fs::path whole = fs::absolute(folder / "").lexically_normal().parent_path();
  return step_of_name(whole.filename().string()).value_or(0);
}

fs::path model_folder_of(const fs::path& folder) {
  if (fs::exists(folder / "config.json")) return folder;
  return latest_checkpoint(folder).value_or(folder);
}

void prune_checkpoints(const fs::path& run, int64_t keep) {
  auto found = list_checkpoints(run);
  while (static_cast<int64_t>(found.size()) > keep) {
    fs::remove_all(found.front().second);
    found.erase(found.begin());
  }
  for (const fs::directory_entry& entry : fs::directory_iterator(run)) {
    if (entry.path().filename().string().starts_with(kPartialPrefix)) fs::remove_all(entry.path());
  }
}

}  // namespace incontext::models
