#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace incontext::hub {

/// Checks the bytes of a blob, as they come, against the digest that its etag is: SHA-256 of the bytes for 64
/// hexadecimal digits (large files), git's SHA-1 of a header and the bytes for 40. Any other etag tells nothing.
class BlobDigest {
 public:
  /// `size` is the blob's whole size, which git's header holds.
  BlobDigest(std::string etag, uint64_t size);
  ~BlobDigest();
  BlobDigest(const BlobDigest&) = delete;
  BlobDigest& operator=(const BlobDigest&) = delete;

  void restart();
  void add(const void* bytes, size_t size);
  /// "" when the bytes are those of the etag (or the etag is no digest), else "expected …, got …". Call it once,
  /// after the last byte.
  std::string difference();

 private:
  struct State;
  std::string etag_;
  uint64_t size_;
  std::unique_ptr<State> state_;
};

}  // namespace incontext::hub
