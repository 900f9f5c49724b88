// What flags mean to that which computes.

#include "base/error.h"
#include "base/text.h"
#include "cli/generation_flags.h"
#include "cli/shared_flags.h"
#include "decode/engine.h"
#include "decode/opened_model.h"
#include "ops/settings.h"
#include "tensor/device.h"

namespace incontext::cli {

tensor::Runtime ComputeFlags::start() const {
  return tensor::start(runtime, ops == "kernels" ? tensor::Engine::kernels : tensor::Engine::fallback);
}

tensor::Runtime ComputeFlags::start_on_cpu(const char* command) const {
  base::check(runtime.device == "cpu", "{}: --device: expected cpu, got '{}': language models run on the processor",
              command, base::printable(runtime.device));
  return start();
}

ops::Settings ComputeFlags::operations() const {
  return {.kernels = ops == "kernels",
          .precision = precision == "bf16" ? kernels::Precision::bf16 : kernels::Precision::f32};
}

decode::GenerationRequest GenerationFlags::request(const decode::OpenedModel& opened) const {
  decode::GenerationRequest request;
  request.max_tokens = max_tokens;
  request.sampling = opened.defaults.sampling;
  decode::SamplingOptions& sampling = request.sampling;
  sampling.temperature = temperature.value_or(sampling.temperature);
  sampling.top_k = top_k.value_or(sampling.top_k);
  sampling.top_p = top_p.value_or(sampling.top_p);
  sampling.min_p = min_p.value_or(sampling.min_p);
  sampling.repetition_penalty = repetition_penalty.value_or(sampling.repetition_penalty);
  sampling.presence_penalty = presence_penalty.value_or(sampling.presence_penalty);
  sampling.frequency_penalty = frequency_penalty.value_or(sampling.frequency_penalty);
  sampling.seed = seed.value_or(sampling.seed);
  if (!ignore_eos) request.stop_ids = opened.defaults.stop_ids;
  request.policy = cache::parse_policy(cache);
  return request;
}

}  // namespace incontext::cli
