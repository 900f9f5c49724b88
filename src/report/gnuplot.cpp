#include "report/gnuplot.h"

#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/text.h"

extern char** environ;

namespace incontext::report {
namespace {

// A file without a name. The child's input and outputs are three of these rather than pipes: neither side can block
// on the other, and a child that dies early raises no SIGPIPE here.
class MemoryFile {
 public:
  MemoryFile() : descriptor_(::memfd_create("gnuplot", MFD_CLOEXEC)) {
    base::check(descriptor_ >= 0, "gnuplot: cannot make a file in memory: {}", std::strerror(errno));
  }
  ~MemoryFile() { ::close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  int descriptor() const { return descriptor_; }

  void fill(const std::string& text) {
    for (size_t done = 0; done < text.size();) {
      const ssize_t count = ::write(descriptor_, text.data() + done, text.size() - done);
      if (count < 0 && errno == EINTR) continue;
      base::check(count > 0, "gnuplot: cannot hand over the script: {}", std::strerror(errno));
      done += static_cast<size_t>(count);
    }
    ::lseek(descriptor_, 0, SEEK_SET);
  }

  std::string contents() const {
    std::string text(static_cast<size_t>(::lseek(descriptor_, 0, SEEK_END)), '\0');
    size_t done = 0;
    while (done < text.size()) {
      const ssize_t count = ::pread(descriptor_, text.data() + done, text.size() - done, static_cast<off_t>(done));
      if (count < 0 && errno == EINTR) continue;
      base::check(count > 0, "gnuplot: cannot read what it wrote: {}", std::strerror(errno));
      done += static_cast<size_t>(count);
    }
    return text;
  }

 private:
  int descriptor_;
};

class SpawnActions {
 public:
  SpawnActions() { ::posix_spawn_file_actions_init(&actions_); }
  ~SpawnActions() { ::posix_spawn_file_actions_destroy(&actions_); }
  SpawnActions(const SpawnActions&) = delete;
  SpawnActions& operator=(const SpawnActions&) = delete;

  void place(int from, int to) { ::posix_spawn_file_actions_adddup2(&actions_, from, to); }
  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_{};
};

// The last line of a message that is not a pointer to the place of the error.
std::string last_line(const std::string& text) {
  std::string last = "no message";
  for (const std::string& line : base::split(text, '\n')) {
    const std::string_view trimmed = base::trim(line);
    if (!trimmed.empty() && trimmed != "^") last = trimmed;
  }
  return base::printable(last);
}

}  // namespace

std::string run_gnuplot(const std::string& script) {
  MemoryFile input, output, errors;
  input.fill(script);
  SpawnActions actions;
  actions.place(input.descriptor(), STDIN_FILENO);
  actions.place(output.descriptor(), STDOUT_FILENO);
  actions.place(errors.descriptor(), STDERR_FILENO);
  std::string name = "gnuplot", option = "--default-settings";  // no start-up files of the user
  char* arguments[] = {name.data(), option.data(), nullptr};
  pid_t child = 0;
  const int refused = ::posix_spawnp(&child, "gnuplot", actions.get(), nullptr, arguments, environ);
  base::check(refused == 0, "plots need gnuplot, which could not be started ({}); install it (Debian: gnuplot-nox)",
              std::strerror(refused));
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) base::fail("gnuplot: cannot wait for it: {}", std::strerror(errno));
  }
  if (WIFSIGNALED(status)) base::fail("gnuplot: was ended by signal {}", WTERMSIG(status));
  base::check(WEXITSTATUS(status) == 0, "gnuplot: failed with status {}: {}", WEXITSTATUS(status),
              last_line(errors.contents()));
  return output.contents();
}

}  // namespace incontext::report
