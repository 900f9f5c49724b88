#pragma once

#include <string>

#include "hub/environment.h"
#include "hub/http.h"
#include "hub/model_name.h"

namespace incontext::hub {

/// Throws the Error that tells what a refused answer (4xx) means and what to do about it.
[[noreturn]] void fail_refused(const HttpAnswer& answer, const ModelName& name, const Environment& environment,
                               bool with_token);

}  // namespace incontext::hub
