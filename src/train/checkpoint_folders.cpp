#include "train/checkpoint_folders.h"

#include <algorithm>
#include <vector>

#include "base/text.h"

namespace incontext::train {
namespace {

namespace fs = std::filesystem;

// (step, path), oldest first.
std::vector<std::pair<int64_t, fs::path>> list_checkpoints(const fs::path& run) {
  std::vector<std::pair<int64_t, fs::path>> found;
  if (!fs::is_directory(run)) return found;
  for (const fs::directory_entry& entry : fs::directory_iterator(run)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kCheckpointPrefix) || !entry.is_directory()) continue;
    if (const auto step = base::whole_number(name.substr(std::string(kCheckpointPrefix).size()))) {
      found.emplace_back(*step, entry.path());
    }
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

}  // namespace incontext::train
