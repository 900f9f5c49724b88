#include "text/decoder.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "text/byte_level.h"
#include "text/components.h"
#include "text/decode_steps.h"

namespace incontext::text {
namespace {

Decoder::StepMaker make_steps(const JsonField& field) {
  const std::string type = field.text("type");
  if (type == "ByteLevel") return byte_level_step();
  if (type == "Replace") return replace_step(std::make_shared<Pattern>(field.at("pattern")), field.text("content"));
  if (type == "ByteFallback") return byte_fallback_step();
  if (type == "Fuse") return fuse_step();
  if (type == "Strip") {
    const int64_t start = field.integer_or("start", 0);
    const int64_t stop = field.integer_or("stop", 0);
    base::check(start >= 0 && stop >= 0, "{}: expected counts to strip, got {} and {}", field.where(), start, stop);
    return strip_step(field.text("content"), static_cast<size_t>(start), static_cast<size_t>(stop));
  }
  if (type == "Metaspace") {
    const std::string scheme =
        field.text_or("prepend_scheme", field.flag_or("add_prefix_space", true) ? "always" : "never");
    return metaspace_step(field.text_or("replacement", "\xE2\x96\x81"), scheme != "never");
  }
  if (type == "BPEDecoder") return suffix_step(field.text_or("suffix", "</w>"));
  fail_unknown_type(field, "decoder",
                    "Sequence, ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace and BPEDecoder");
}

}  // namespace

std::string DecodeRun::push(std::string token) {
  std::string out;
  pushed_ += token.size();
  push_from(0, std::move(token), out);
  return out;
}

std::string DecodeRun::finish() {
  std::string out;
  for (size_t i = 0; i < steps_.size(); ++i) {
    steps_[i]->finish([&](std::string text) { push_from(i + 1, std::move(text), out); });
  }
  return out;
}

void DecodeRun::push_from(size_t step, std::string token, std::string& out) {
  check_growth(pushed_, token.size());
  if (step == steps_.size()) {
    out += token;
    return;
  }
  steps_[step]->push(std::move(token), [&](std::string text) { push_from(step + 1, std::move(text), out); });
}

Decoder::Decoder() : makers_({join_step()}) {}

DecodeRun Decoder::start() const {
  std::vector<std::unique_ptr<DecodeStep>> steps;
  bool fused = false;
  for (const StepMaker& make : makers_) steps.push_back(make(fused));
  return DecodeRun(std::move(steps));
}

Decoder make_decoder(const JsonField& field) {
  std::vector<Decoder::StepMaker> makers;
  collect_parts(field, "decoders", 0, make_steps, makers);
  return Decoder(std::move(makers));
}

Decoder make_byte_level_decoder() { return Decoder({byte_level_step()}); }

Decoder make_sentencepiece_decoder() {
  return Decoder({metaspace_to_space_step(), byte_fallback_step(), fuse_step(), strip_step(" ", 1, 0)});
}

}  // namespace incontext::text
