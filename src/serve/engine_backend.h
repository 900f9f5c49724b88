#pragma once

#include <memory>
#include <string>
#include <vector>

#include "serve/backend.h"

namespace incontext::decode {
struct OpenedModel;
struct EngineOptions;
}  // namespace incontext::decode

namespace incontext::serve {

/// A language model behind decode::Engine, which runs on a thread of its own until destruction. `opened` must outlive
/// it. `names`: what clients may call the model. `caches`: policies that requests may name beside all that open no
/// files; the first is the one that a silent request has, and none is "full".
std::unique_ptr<Backend> make_engine_backend(const decode::OpenedModel& opened, const decode::EngineOptions& options,
                                             std::vector<std::string> names, std::vector<std::string> caches = {});

}  // namespace incontext::serve
