#include "base/process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "base/error.h"

extern char** environ;

namespace incontext::base {
namespace {

class Pipe {
 public:
  Pipe() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail("cannot make a pipe: {}", std::strerror(errno));
    read_ = ends[0];
    write_ = ends[1];
  }
  ~Pipe() {
    close_read();
    close_write();
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  int read_end() const { return read_; }
  int write_end() const { return write_; }
  void close_read() { close(read_); }
  void close_write() { close(write_); }

 private:
  static void close(int& descriptor) {
    if (descriptor >= 0) ::close(descriptor);
    descriptor = -1;
  }
  int read_ = -1;
  int write_ = -1;
};

// Reads what is there; false at the end.
bool read_some(int descriptor, std::string& out) {
  char buffer[65536];
  const ssize_t count = ::read(descriptor, buffer, sizeof buffer);
  if (count > 0) out.append(buffer, static_cast<size_t>(count));
  return count > 0 || (count < 0 && (errno == EINTR || errno == EAGAIN));
}

// Feeds and drains all three pipes at once, so that neither side waits for the other for ever.
void exchange(Pipe& in, Pipe& out, Pipe& errors, std::string_view input, ProcessResult& result) {
  ::fcntl(in.write_end(), F_SETFL, O_NONBLOCK);
  if (input.empty()) in.close_write();
  while (out.read_end() >= 0 || errors.read_end() >= 0) {
    std::array<pollfd, 3> waiting = {pollfd{in.write_end(), POLLOUT, 0}, pollfd{out.read_end(), POLLIN, 0},
                                     pollfd{errors.read_end(), POLLIN, 0}};
    if (::poll(waiting.data(), waiting.size(), -1) < 0 && errno != EINTR) return;
    if (waiting[0].revents != 0) {
      const ssize_t count = ::write(in.write_end(), input.data(), input.size());
      if (count > 0) input.remove_prefix(static_cast<size_t>(count));
      if (input.empty() || (count < 0 && errno != EAGAIN && errno != EINTR)) in.close_write();
    }
    if (waiting[1].revents != 0 && !read_some(out.read_end(), result.output)) out.close_read();
    if (waiting[2].revents != 0 && !read_some(errors.read_end(), result.errors)) errors.close_read();
  }
}

}  // namespace

ProcessResult run_process(const std::vector<std::string>& arguments, std::string_view input) {
  INCONTEXT_ASSERT(!arguments.empty());
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  Pipe in;
  Pipe out;
  Pipe errors;
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, in.read_end(), STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, out.write_end(), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, errors.write_end(), STDERR_FILENO);
  pid_t child = 0;
  const int code = ::posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (code != 0) fail("cannot run {}: {}", arguments[0], std::strerror(code));
  in.close_read();
  out.close_write();
  errors.close_write();
  ProcessResult result;
  exchange(in, out, errors, input, result);
  in.close_write();
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  result.exit_status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return result;
}

std::optional<std::filesystem::path> find_program_part(const std::string& name) {
  std::error_code unknown;
  const std::filesystem::path folder = std::filesystem::read_symlink("/proc/self/exe", unknown).parent_path();
  for (const std::filesystem::path& place : {folder / name, folder.parent_path() / "lib" / "incontext" / name}) {
    if (std::filesystem::exists(place, unknown)) return place;
  }
  return std::nullopt;
}

void become_program(const std::filesystem::path& program, char** arguments) {
  ::execv(program.c_str(), arguments);
  fail("cannot run {}: {}", program.string(), std::strerror(errno));
}

}  // namespace incontext::base
