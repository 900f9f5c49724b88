#include "support/command.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>

extern char** environ;

namespace incontext::testing {
namespace {

using Clock = std::chrono::steady_clock;

void check_call(int code, const std::string& what) {
  if (code != 0) throw std::system_error(code, std::generic_category(), what);
}

class Pipe {
 public:
  Pipe() { check_call(::pipe2(ends_.data(), O_CLOEXEC) == 0 ? 0 : errno, "pipe"); }
  ~Pipe() {
    close_reader();
    close_writer();
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  int reader() const { return ends_[0]; }
  int writer() const { return ends_[1]; }
  void close_reader() { close(ends_[0]); }
  void close_writer() { close(ends_[1]); }

  /// Appends what has come; closes the reader at the end.
  void read_into(std::string& text) {
    char buffer[4096];
    const ssize_t count = ::read(ends_[0], buffer, sizeof buffer);
    if (count > 0) text.append(buffer, static_cast<size_t>(count));
    if (count == 0 || (count < 0 && errno != EINTR)) close_reader();
  }

 private:
  static void close(int& end) {
    if (end >= 0) ::close(end);
    end = -1;
  }
  std::array<int, 2> ends_{-1, -1};
};

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (std::string& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

std::vector<std::string> changed_environment(const CommandOptions& options) {
  std::vector<std::string> out;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (!options.environment.contains(text.substr(0, text.find('=')))) out.push_back(text);
  }
  for (const auto& [name, value] : options.environment) {
    if (value) out.push_back(name + "=" + *value);
  }
  return out;
}

pid_t spawn(std::vector<std::string> command, const CommandOptions& options, const Pipe& out, const Pipe& err) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  check_call(posix_spawn_file_actions_init(&actions), "posix_spawn");
  check_call(posix_spawnattr_init(&attributes), "posix_spawn");
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out.writer(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err.writer(), STDERR_FILENO);
  if (!options.directory.empty()) posix_spawn_file_actions_addchdir_np(&actions, options.directory.c_str());
  // A process group of its own, so that a timeout ends its children too; no signal blocked or ignored.
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

  std::vector<std::string> environment = changed_environment(options);
  pid_t process = 0;
  const int code = ::posix_spawnp(&process, command.at(0).c_str(), &actions, &attributes, pointers(command).data(),
                                  pointers(environment).data());
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  check_call(code, "cannot run " + command[0]);
  return process;
}

}  // namespace

CommandResult run_command(const std::vector<std::string>& command, const CommandOptions& options) {
  Pipe out, err;
  const pid_t process = spawn(command, options, out, err);
  out.close_writer();
  err.close_writer();

  CommandResult result;
  const auto deadline = Clock::now() + options.timeout;
  bool ended = false;
  while (!ended || out.reader() >= 0 || err.reader() >= 0) {
    std::array<pollfd, 2> waiting{pollfd{out.reader(), POLLIN, 0}, pollfd{err.reader(), POLLIN, 0}};
    ::poll(waiting.data(), waiting.size(), 5);  // a closed reader is -1, which poll() leaves out
    if (waiting[0].revents != 0) out.read_into(result.out);
    if (waiting[1].revents != 0) err.read_into(result.err);
    if (options.signal_when && !ended && !result.signalled && options.signal_when(result.out, result.err)) {
      result.signalled = true;
      ::kill(process, options.signal);
    }
    int status = 0;
    if (!ended && ::waitpid(process, &status, WNOHANG) == process) {
      ended = true;
      result.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    }
    if (!result.timed_out && Clock::now() > deadline) {
      result.timed_out = true;
      ::kill(-process, SIGKILL);
    }
  }
  return result;
}

}  // namespace incontext::testing
