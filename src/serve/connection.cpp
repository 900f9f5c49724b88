#include "serve/connection.h"

#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>

#include <charconv>
#include <filesystem>
#include <utility>

namespace incontext::serve {
namespace {

using Place = std::pair<std::string, int>;  // address and port

Place place_of(const sockaddr_storage& address, socklen_t size) {
  char host[NI_MAXHOST], service[NI_MAXSERV];
  if (::getnameinfo(reinterpret_cast<const sockaddr*>(&address), size, host, sizeof host, service, sizeof service,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return {};
  }
  return {host, std::atoi(service)};
}

template <class Name>
Place place_by(Name name, int descriptor) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (name(descriptor, reinterpret_cast<sockaddr*>(&address), &size) != 0) return {};
  return place_of(address, size);
}

}  // namespace

// The library keeps the descriptor to itself, but tells both ends, and no two connections have the same two.
Connection::Connection(const httplib::Request& request) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", ignored)) {
    const std::string name = entry.path().filename().string();
    int descriptor = -1;
    std::from_chars(name.data(), name.data() + name.size(), descriptor);
    if (place_by(::getpeername, descriptor) != Place{request.remote_addr, request.remote_port}) continue;
    if (place_by(::getsockname, descriptor) != Place{request.local_addr, request.local_port}) continue;
    descriptor_ = descriptor;
    return;
  }
}

bool Connection::alive() const {
  if (descriptor_ < 0) return true;
  pollfd asked{.fd = descriptor_, .events = POLLRDHUP, .revents = 0};
  return ::poll(&asked, 1, 0) <= 0 || (asked.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) == 0;
}

void ConnectionThreads::enqueue(std::function<void()> job) {
  const std::lock_guard lock(mutex_);
  jobs_.push_back(std::move(job));
  if (idle_ < jobs_.size() && threads_.size() < most_) {
    threads_.emplace_back([this] { work(); });
  } else {
    changed_.notify_one();
  }
}

void ConnectionThreads::shutdown() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ConnectionThreads::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    ++idle_;
    changed_.wait(lock, [&] { return stop_ || !jobs_.empty(); });
    --idle_;
    if (jobs_.empty()) return;
    const std::function<void()> job = std::move(jobs_.front());
    jobs_.pop_front();
    lock.unlock();
    job();
    lock.lock();
  }
}

}  // namespace incontext::serve
