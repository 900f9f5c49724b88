#pragma once

#include <cstddef>

// The SentencePiece library behind a table of C functions, in a shared module of its own. Debian's library carries a
// copy of protobuf's classes and shows them to the whole process, where they take the place of those that libtorch's
// protobuf needs. Loaded as a module, with its symbols to itself, it stands in nobody's way.

extern "C" {

struct IncontextSentencePiece {
  /// A model from the bytes of a tokenizer.model; null, and a message, when they are none.
  void* (*open)(const char* bytes, size_t size, char* message, size_t message_size);
  void (*close)(void* model);
  int (*size)(const void* model);
  /// The piece of an id; valid as long as the model.
  const char* (*piece)(const void* model, int id, size_t* length);
  int (*id)(const void* model, const char* piece, size_t length);
  int (*is_control)(const void* model, int id);
  int (*is_unknown)(const void* model, int id);
  /// Calls take(context, id) for every id of a text; 0 when the text could not be encoded.
  int (*encode)(const void* model, const char* text, size_t length, void (*take)(void* context, int id), void* context);
};

/// The one symbol that is looked up: "incontext_sentencepiece".
using IncontextSentencePieceEntry = const IncontextSentencePiece* (*)();
}
