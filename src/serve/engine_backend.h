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
/// it. `names`: what clients may call the model.
std::unique_ptr<Backend> make_engine_backend(const decode::OpenedModel& opened, const decode::EngineOptions& options,
                                             std::vector<std::string> names);

}  // namespace incontext::serve
