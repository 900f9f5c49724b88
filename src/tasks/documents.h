#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace incontext::tasks {

/// The documents of these files and folders (a folder's files by name), in order: a .txt or .md file is one, a .jsonl
/// file has one in the field "text" of every line; a further .gz says that the file is compressed. Other files in a
/// folder are passed over. A file that is missing, of another kind, broken or empty is an Error that names it (and the
/// line).
std::vector<std::string> read_documents(const std::vector<std::string>& paths);

}  // namespace incontext::tasks
