#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "base/record.h"

namespace incontext::eval {

/// What a measurement of caches asks and tells on its way.
struct CacheEvaluationEvents {
  /// Everything that was asked for can be measured, and will be.
  std::function<void()> begin = {};
  /// Of what is finished, row by row.
  std::function<void(const base::Record& record)> write = {};
  /// What is going on and how far everything is (0 … 1).
  std::function<void(const std::string& what, double done)> progress = {};
  /// Asked between steps; true ends the measurement with what is finished.
  std::function<bool()> stop_requested = {};
};

/// Thrown between steps once a stop is asked for; measure_caches() catches it.
struct Stopped {};

/// How far the work is, in what it takes to read a token of a prompt.
class Work {
 public:
  Work(double total, const CacheEvaluationEvents& events) : total_(total), events_(&events) {}

  /// A step of single tokens waits for all weights to be read, however few sequences it has.
  static double of_step(size_t sequences) { return 8 + 2 * static_cast<double>(sequences); }

  void begin(std::string what) { what_ = std::move(what); }
  /// Throws Stopped.
  void add(double work) {
    done_ += work;
    if (events_->progress) events_->progress(what_, std::min(1.0, done_ / total_));
    if (events_->stop_requested && events_->stop_requested()) throw Stopped{};
  }

 private:
  double total_, done_ = 0;
  const CacheEvaluationEvents* events_;
  std::string what_;
};

}  // namespace incontext::eval
