#pragma once

#include <atomic>
#include <condition_variable>
#include <list>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "serve/byte_backend.h"

namespace incontext::testing {

/// A backend without a model, whose every continuation is `reply` over and over, one byte a step. It can be held, to
/// look at a server while it is busy.
class FakeBackend : public ByteBackend {
 public:
  explicit FakeBackend(int64_t context = 200) : ByteBackend({"fake", "fake-alias"}, context) {
    thread_ = std::thread([this] { run(); });
  }

  ~FakeBackend() override {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
      held_ = false;
      changed_.notify_all();
    }
    thread_.join();
  }

  std::string reply = "Hello, world. ";
  int64_t length = -1;  // when not negative: steps after which token 256 ends every continuation
  std::string failure;  // when not empty: how every continuation ends

  void hold(bool held) {
    const std::lock_guard lock(mutex_);
    held_ = held;
    changed_.notify_all();
  }

  /// The request that came last.
  serve::ContinuationRequest last() const {
    const std::lock_guard lock(mutex_);
    return last_;
  }
  /// The chat that came last.
  serve::ChatPrompt last_chat() const {
    const std::lock_guard lock(mutex_);
    return last_chat_;
  }

  std::vector<int64_t> encode_chat(const serve::ChatPrompt& prompt) const override {
    const std::lock_guard lock(mutex_);
    last_chat_ = prompt;
    const base::Json content = prompt.messages.back().value("content", base::Json(nullptr));
    if (content == "refuse") throw base::Error("chat template line 3: roles must alternate");
    return encode(content.is_string() ? content.get<std::string>() : "", true);
  }

  int64_t submit(serve::ContinuationRequest request, serve::ContinuationEvents events) override {
    const std::lock_guard lock(mutex_);
    last_ = request;
    jobs_.push_back({.number = next_++, .request = std::move(request), .events = std::move(events)});
    changed_.notify_all();
    return jobs_.back().number;
  }

  void cancel(int64_t number) override {
    const std::lock_guard lock(mutex_);
    for (Job& job : jobs_) job.cancelled = job.cancelled || job.number == number;
    changed_.notify_all();
  }

  serve::BackendStatus status() const override {
    const std::lock_guard lock(mutex_);
    serve::BackendStatus status;
    for (const Job& job : jobs_) {
      ++status.running;
      status.cache_bytes[job.request.cache] += 1000;
      status.cache_tokens[job.request.cache] += 10;
    }
    status.cache_limit = 1 << 20;
    status.fixed_bytes = {{"full:dictionary=\"a\"", 77}};
    return status;
  }

 private:
  struct Job {
    int64_t number = 0;
    serve::ContinuationRequest request;
    serve::ContinuationEvents events;
    int64_t generated = 0;
    bool begun = false, cancelled = false;
  };

  decode::Choice score(int64_t token, int64_t top) const {
    decode::Choice choice{.token = token, .logprob = -0.5, .top = {}};
    if (top > 0) choice.top = {{.token = token, .logprob = -0.5}, {.token = 'z', .logprob = -2.5}};
    return choice;
  }

  // True when the job has ended.
  bool step(Job& job) {
    const auto size = static_cast<int64_t>(job.request.prompt.size());
    if (!job.begun) {
      job.begun = true;
      if (job.request.prompt_logprobs) {
        std::vector<decode::Choice> scores;
        for (int64_t i = 1; i < size; ++i) {
          scores.push_back(score(job.request.prompt[static_cast<size_t>(i)], job.request.top_logprobs));
        }
        job.events.on_prompt_scores(scores);
      }
      job.events.on_prompt(size, size / 2);
    }
    if (!failure.empty()) return end(job, serve::Finish::error, failure);
    if (job.request.max_tokens == 0) return end(job, serve::Finish::length);
    if (job.generated == length) {
      job.events.on_stop_token(score(256, job.request.top_logprobs));
      return end(job, serve::Finish::stop);
    }
    const char c = reply[static_cast<size_t>(job.generated) % reply.size()];
    for (const std::string& stop : job.request.stop) {
      if (stop == std::string(1, c)) return end(job, serve::Finish::stop);
    }
    ++job.generated;
    job.events.on_token(score(static_cast<unsigned char>(c), job.request.top_logprobs), std::string(1, c));
    return job.generated == job.request.max_tokens && end(job, serve::Finish::length);
  }

  bool end(Job& job, serve::Finish finish, const std::string& error = "") {
    if (job.begun) job.events.on_cache(1000 + job.generated);
    job.events.on_end(finish, "", error);
    return true;
  }

  void run() {
    std::unique_lock lock(mutex_);
    while (!stop_) {
      for (auto job = jobs_.begin(); job != jobs_.end();) {
        const bool ended = job->cancelled ? end(*job, serve::Finish::cancelled) : !held_ && step(*job);
        job = ended ? jobs_.erase(job) : std::next(job);
      }
      changed_.wait_for(lock, std::chrono::milliseconds(1));
    }
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::list<Job> jobs_;
  serve::ContinuationRequest last_;
  mutable serve::ChatPrompt last_chat_;
  int64_t next_ = 1;
  bool stop_ = false, held_ = false;
  std::thread thread_;
};

}  // namespace incontext::testing
