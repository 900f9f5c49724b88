#include "tasks/documents.h"

#include <zlib.h>

#include <algorithm>
#include <memory>

#include "base/config_node.h"
#include "base/error.h"
#include "base/file.h"

namespace incontext::tasks {
namespace {

namespace fs = std::filesystem;
using base::Json;

std::string read_compressed(const fs::path& path) {
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), gzclose);
  base::check(file != nullptr, "{}: cannot open", path.string());
  std::string text;
  std::vector<char> part(1 << 16);
  for (;;) {
    const int count = gzread(file.get(), part.data(), static_cast<unsigned>(part.size()));
    if (count > 0) text.append(part.data(), static_cast<size_t>(count));
    if (count == static_cast<int>(part.size())) continue;
    int code = Z_OK;
    const char* const message = gzerror(file.get(), &code);
    base::check(count >= 0 && code == Z_OK, "{}: broken or truncated gzip data ({})", path.string(), message);
    return text;
  }
}

bool is_compressed(const fs::path& path) { return path.extension() == ".gz"; }

// ".txt", ".md" or ".jsonl", whether compressed or not.
std::string kind_of(const fs::path& path) {
  return is_compressed(path) ? path.stem().extension().string() : path.extension().string();
}

bool is_known(const fs::path& path) {
  const std::string kind = kind_of(path);
  return kind == ".txt" || kind == ".md" || kind == ".jsonl";
}

void read_lines(const std::string& text, const fs::path& path, std::vector<std::string>& documents) {
  size_t begin = 0;
  for (int line = 1; begin < text.size(); ++line) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view row = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    if (row.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const Json json = Json::parse(row, nullptr, /*allow_exceptions=*/false);
    base::check(json.is_object() && json.contains("text") && json["text"].is_string(),
                "{}:{}: expected a JSON object with a text in the field \"text\"", path.string(), line);
    documents.push_back(json["text"].get<std::string>());
  }
}

// False where the file holds no text.
bool read_one(const fs::path& path, std::vector<std::string>& documents) {
  base::check(fs::exists(path), "{}: no such file or folder", path.string());
  base::check(is_known(path), "{}: expected a file .txt, .md or .jsonl, or one of them with .gz", path.string());
  std::string text = is_compressed(path) ? read_compressed(path) : base::read_file(path);
  const size_t before = documents.size();
  if (kind_of(path) == ".jsonl") {
    read_lines(text, path, documents);
  } else if (!text.empty()) {
    documents.push_back(std::move(text));
  }
  return documents.size() > before;
}

void read_folder(const fs::path& folder, std::vector<std::string>& documents, std::vector<std::string>* notes) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.is_regular_file() && is_known(entry.path()) && !base::is_hidden(entry.path())) {
      files.push_back(entry.path());
    }
  }
  base::check(!files.empty(), "{}: holds no .txt, .md or .jsonl files", folder.string());
  std::sort(files.begin(), files.end());
  const size_t before = documents.size();
  for (const fs::path& file : files) {
    if (!read_one(file, documents) && notes != nullptr) {
      notes->push_back(fmt::format("{}: holds no text and is passed over", file.string()));
    }
  }
  base::check(documents.size() > before, "{}: no file in it holds text", folder.string());
}

}  // namespace

std::vector<std::string> read_documents(const std::vector<std::string>& paths, std::vector<std::string>* notes) {
  std::vector<std::string> documents;
  for (const std::string& path : paths) {
    if (fs::is_directory(path)) {
      read_folder(path, documents, notes);
    } else {
      base::check(read_one(path, documents), "{}: holds no text", path);
    }
  }
  return documents;
}

}  // namespace incontext::tasks
