#include "serve/admission.h"

#include "serve/request_error.h"

namespace incontext::serve {

std::shared_ptr<void> Admission::enter(int64_t continuations) {
  const std::lock_guard lock(mutex_);
  if (closed_) throw RequestError(503, "the server is stopping", "", "stopping");
  if (continuations > most_) {
    refuse("n", "{} continuations in one request, and this server takes {} at once", continuations, most_);
  }
  if (taken_ + continuations > most_) {
    throw RequestError(
        429,
        fmt::format("the server is busy: {} continuations run or wait, and {} may; try again later", taken_, most_), "",
        "queue_full");
  }
  taken_ += continuations;
  return {static_cast<void*>(this), [this, continuations](void*) { leave(continuations); }};
}

void Admission::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
}

bool Admission::closed() const {
  const std::lock_guard lock(mutex_);
  return closed_;
}

void Admission::leave(int64_t continuations) {
  const std::lock_guard lock(mutex_);
  taken_ -= continuations;
  if (taken_ == 0) emptied_.notify_all();  // under the lock: whoever waits may destroy this at once
}

void Admission::wait_until_empty() {
  std::unique_lock lock(mutex_);
  emptied_.wait(lock, [&] { return taken_ == 0; });
}

}  // namespace incontext::serve
