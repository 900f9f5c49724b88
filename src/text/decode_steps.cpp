#include "text/decode_steps.h"

#include <optional>

#include "text/byte_level.h"
#include "text/utf8.h"

namespace incontext::text {
namespace {

std::string replace_text(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  size_t done = 0;
  for (size_t at = text.find(from); !from.empty() && at != std::string_view::npos; at = text.find(from, done)) {
    out += text.substr(done, at - done);
    out += to;
    done = at + from.size();
  }
  out += text.substr(done);
  return out;
}

class ByteLevelStep : public DecodeStep {
 public:
  void push(std::string token, const TextSink& sink) override {
    bytes_ += characters_to_bytes(token);
    give(sink, false);
  }
  void finish(const TextSink& sink) override { give(sink, true); }

 private:
  void give(const TextSink& sink, bool all) {
    std::string out;
    std::string_view rest = bytes_;
    while (!rest.empty()) {
      const Utf8Step step = next_utf8(rest);
      if (step.incomplete && !all) break;
      out += step.valid ? rest.substr(0, step.size) : kReplacementCharacter;
      rest.remove_prefix(step.size);
    }
    bytes_ = std::string(rest);
    if (!out.empty()) sink(std::move(out));
  }

  std::string bytes_;  // an unfinished code point
};

std::optional<char> byte_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    const bool digit = c >= '0' && c <= '9', upper = c >= 'A' && c <= 'F', lower = c >= 'a' && c <= 'f';
    if (!digit && !upper && !lower) return std::nullopt;
    value = value * 16 + (digit ? c - '0' : upper ? c - 'A' + 10 : c - 'a' + 10);
  }
  return static_cast<char>(value);
}

class ByteFallbackStep : public DecodeStep {
 public:
  void push(std::string token, const TextSink& sink) override {
    if (const auto byte = byte_token(token)) {
      bytes_ += *byte;
      return;
    }
    finish(sink);
    sink(std::move(token));
  }
  void finish(const TextSink& sink) override {
    if (bytes_.empty()) return;
    if (is_valid_utf8(bytes_)) {
      sink(std::move(bytes_));
    } else {
      for (size_t i = 0; i < bytes_.size(); ++i) sink(std::string(kReplacementCharacter));
    }
    bytes_.clear();
  }

 private:
  std::string bytes_;
};

class PassStep : public DecodeStep {
 public:
  void push(std::string token, const TextSink& sink) override { sink(std::move(token)); }
};

class ReplaceStep : public DecodeStep {
 public:
  ReplaceStep(std::shared_ptr<const Pattern> pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void push(std::string token, const TextSink& sink) override { sink(pattern_->replace_all(token, content_)); }

 private:
  std::shared_ptr<const Pattern> pattern_;
  std::string content_;
};

class MetaspaceToSpaceStep : public DecodeStep {
 public:
  void push(std::string token, const TextSink& sink) override { sink(replace_text(token, "\xE2\x96\x81", " ")); }
};

// Drops up to `start` copies of a character at the beginning of every token, and up to `stop` at its end.
class StripStep : public DecodeStep {
 public:
  StripStep(std::string content, size_t start, size_t stop)
      : content_(std::move(content)), start_(start), stop_(stop) {}
  void push(std::string token, const TextSink& sink) override {
    std::string_view rest = token;
    for (size_t i = 0; i < start_ && !content_.empty() && rest.starts_with(content_); ++i) {
      rest.remove_prefix(content_.size());
    }
    for (size_t i = 0; i < stop_ && !content_.empty() && rest.ends_with(content_); ++i) {
      rest.remove_suffix(content_.size());
    }
    sink(std::string(rest));
  }

 private:
  std::string content_;
  size_t start_;
  size_t stop_;
};

// The same of one token that comes in parts, without an end to strip.
class FusedStripStep : public DecodeStep {
 public:
  FusedStripStep(std::string content, size_t start) : content_(std::move(content)), left_(start) {}
  void push(std::string token, const TextSink& sink) override {
    std::string_view rest = token;
    while (left_ > 0 && !rest.empty()) {
      if (content_.empty() || !rest.starts_with(content_)) {
        left_ = 0;
        break;
      }
      rest.remove_prefix(content_.size());
      --left_;
    }
    if (!rest.empty()) sink(std::string(rest));
  }

 private:
  std::string content_;
  size_t left_;
};

class MetaspaceStep : public DecodeStep {
 public:
  MetaspaceStep(std::string replacement, bool drop_at_start)
      : replacement_(std::move(replacement)), drop_at_start_(drop_at_start) {}
  void push(std::string token, const TextSink& sink) override {
    sink(replace_text(token, replacement_, first_ && drop_at_start_ ? "" : " "));
    first_ = false;
  }

 private:
  std::string replacement_;
  bool drop_at_start_;
  bool first_ = true;
};

class SuffixStep : public DecodeStep {
 public:
  explicit SuffixStep(std::string suffix) : suffix_(std::move(suffix)) {}
  void push(std::string token, const TextSink& sink) override {
    if (held_) sink(replace_text(*held_, suffix_, " "));
    held_ = std::move(token);
  }
  void finish(const TextSink& sink) override {
    if (held_) sink(replace_text(*held_, suffix_, ""));
    held_.reset();
  }

 private:
  std::string suffix_;
  std::optional<std::string> held_;
};

class JoinStep : public DecodeStep {
 public:
  void push(std::string token, const TextSink& sink) override {
    sink(first_ ? std::move(token) : " " + token);
    first_ = false;
  }

 private:
  bool first_ = true;
};

// Takes parts of one token and gives the step inside the whole of it: for steps that cannot work on parts.
class WholeStep : public DecodeStep {
 public:
  explicit WholeStep(std::unique_ptr<DecodeStep> inside) : inside_(std::move(inside)) {}
  void push(std::string token, const TextSink&) override {
    text_ += token;
    any_ = true;
  }
  void finish(const TextSink& sink) override {
    if (any_) inside_->push(std::move(text_), sink);
    inside_->finish(sink);
    any_ = false;
    text_.clear();
  }

 private:
  std::unique_ptr<DecodeStep> inside_;
  std::string text_;
  bool any_ = false;
};

std::unique_ptr<DecodeStep> whole_if(bool fused, std::unique_ptr<DecodeStep> step) {
  if (!fused) return step;
  return std::make_unique<WholeStep>(std::move(step));
}

}  // namespace

Decoder::StepMaker byte_level_step() {
  return [](bool& fused) {
    auto step = whole_if(fused, std::make_unique<ByteLevelStep>());
    fused = true;
    return step;
  };
}

Decoder::StepMaker byte_fallback_step() {
  return [](bool& fused) { return whole_if(fused, std::make_unique<ByteFallbackStep>()); };
}

Decoder::StepMaker fuse_step() {
  return [](bool& fused) -> std::unique_ptr<DecodeStep> {
    fused = true;
    return std::make_unique<PassStep>();
  };
}

Decoder::StepMaker replace_step(std::shared_ptr<const Pattern> pattern, std::string content) {
  return [pattern = std::move(pattern), content = std::move(content)](bool& fused) {
    return whole_if(fused && !pattern->is_single_character(), std::make_unique<ReplaceStep>(pattern, content));
  };
}

Decoder::StepMaker metaspace_to_space_step() {
  return [](bool&) -> std::unique_ptr<DecodeStep> { return std::make_unique<MetaspaceToSpaceStep>(); };
}

Decoder::StepMaker strip_step(std::string content, size_t start, size_t stop) {
  return [content = std::move(content), start, stop](bool& fused) -> std::unique_ptr<DecodeStep> {
    if (fused && stop == 0) return std::make_unique<FusedStripStep>(content, start);
    return whole_if(fused, std::make_unique<StripStep>(content, start, stop));
  };
}

Decoder::StepMaker metaspace_step(std::string replacement, bool drop_at_start) {
  return [replacement = std::move(replacement), drop_at_start](bool& fused) {
    return whole_if(fused, std::make_unique<MetaspaceStep>(replacement, drop_at_start));
  };
}

Decoder::StepMaker suffix_step(std::string suffix) {
  return [suffix = std::move(suffix)](bool& fused) { return whole_if(fused, std::make_unique<SuffixStep>(suffix)); };
}

Decoder::StepMaker join_step() {
  return [](bool&) -> std::unique_ptr<DecodeStep> { return std::make_unique<JoinStep>(); };
}

}  // namespace incontext::text
