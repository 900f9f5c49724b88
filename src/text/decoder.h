#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "text/json_field.h"

namespace incontext::text {

/// Where a step of decoding sends what it made.
using TextSink = std::function<void(std::string)>;

/// The state of one step of decoding one text: takes tokens one after another, and gives what is certain by then.
class DecodeStep {
 public:
  virtual ~DecodeStep() = default;
  virtual void push(std::string token, const TextSink& sink) = 0;
  /// No more tokens: gives the rest.
  virtual void finish(const TextSink&) {}
};

/// The whole way from tokens to text, for one text. Pieces that come out together are the text, and hold only whole
/// code points.
class DecodeRun {
 public:
  explicit DecodeRun(std::vector<std::unique_ptr<DecodeStep>> steps) : steps_(std::move(steps)) {}

  /// The text that is certain now that `token` has come.
  std::string push(std::string token);
  /// The rest.
  std::string finish();

 private:
  void push_from(size_t step, std::string token, std::string& out);

  std::vector<std::unique_ptr<DecodeStep>> steps_;
  size_t pushed_ = 0;  // bytes
};

/// How a tokenizer makes text of tokens. Thread-safe.
class Decoder {
 public:
  /// Makes one step. `fused` says whether what comes is parts of one token (after a Fuse or ByteLevel) rather than
  /// tokens; a step sets it when what it gives is.
  using StepMaker = std::function<std::unique_ptr<DecodeStep>(bool& fused)>;

  /// Without steps: the tokens with a space between, which is what a file without a decoder means.
  Decoder();
  explicit Decoder(std::vector<StepMaker> makers) : makers_(std::move(makers)) {}

  DecodeRun start() const;

 private:
  std::vector<StepMaker> makers_;
};

/// The `decoder` of a tokenizer.json. Unknown types and wrong fields are Errors that name the place.
Decoder make_decoder(const JsonField& field);

/// Bytes written as characters, as GPT-2 does.
Decoder make_byte_level_decoder();

/// "▁" for a space, <0x00> for bytes, and one leading space dropped, as SentencePiece does.
Decoder make_sentencepiece_decoder();

}  // namespace incontext::text
