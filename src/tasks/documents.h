#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace incontext::tasks {

/// The documents of these files and folders (a folder's files by name), in order: a .txt or .md file is one, a .jsonl
/// file has one in the field "text" of every line; a further .gz says that the file is compressed. Other files in a
/// folder are passed over, and so are hidden ones (such as the ._name.txt that macOS writes beside name.txt); one that
/// holds no text is passed over with a line in `notes`. A folder without any text, and a file given by itself that is
/// missing, of another kind or empty, are Errors that name it; so is every broken file, with its line.
std::vector<std::string> read_documents(const std::vector<std::string>& paths,
                                        std::vector<std::string>* notes = nullptr);

}  // namespace incontext::tasks
