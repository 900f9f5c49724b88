#include "text/sentencepiece_module.h"

#include <sentencepiece_processor.h>

#include <cstring>
#include <memory>
#include <vector>

namespace {

using sentencepiece::SentencePieceProcessor;

const SentencePieceProcessor& of(const void* model) { return *static_cast<const SentencePieceProcessor*>(model); }

void* open(const char* bytes, size_t size, char* message, size_t message_size) {
  auto processor = std::make_unique<SentencePieceProcessor>();
  const auto status = processor->LoadFromSerializedProto({bytes, size});
  if (status.ok()) return processor.release();
  std::strncpy(message, status.ToString().c_str(), message_size - 1);
  message[message_size - 1] = '\0';
  return nullptr;
}

void close(void* model) { delete static_cast<SentencePieceProcessor*>(model); }

int size(const void* model) { return of(model).GetPieceSize(); }

const char* piece(const void* model, int id, size_t* length) {
  const std::string& found = of(model).IdToPiece(id);
  *length = found.size();
  return found.data();
}

int id(const void* model, const char* text, size_t length) { return of(model).PieceToId({text, length}); }

int is_control(const void* model, int id) { return of(model).IsControl(id) ? 1 : 0; }

int is_unknown(const void* model, int id) { return of(model).IsUnknown(id) ? 1 : 0; }

int encode(const void* model, const char* text, size_t length, void (*take)(void* context, int id), void* context) {
  std::vector<int> ids;
  if (!of(model).Encode({text, length}, &ids).ok()) return 0;
  for (const int each : ids) take(context, each);
  return 1;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) const IncontextSentencePiece* incontext_sentencepiece() {
  static const IncontextSentencePiece table = {open, close, size, piece, id, is_control, is_unknown, encode};
  return &table;
}
