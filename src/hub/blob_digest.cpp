#include "hub/blob_digest.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <string_view>

#include "base/error.h"

namespace incontext::hub {
namespace {

constexpr size_t kSha256Digits = 64;
constexpr size_t kSha1Digits = 40;

bool is_hexadecimal(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

const EVP_MD* algorithm_of(std::string_view etag) {
  if (!is_hexadecimal(etag)) return nullptr;
  if (etag.size() == kSha256Digits) return ::EVP_sha256();
  if (etag.size() == kSha1Digits) return ::EVP_sha1();
  return nullptr;
}

}  // namespace

struct BlobDigest::State {
  EVP_MD_CTX* context = ::EVP_MD_CTX_new();
  ~State() { ::EVP_MD_CTX_free(context); }
};

BlobDigest::BlobDigest(std::string etag, uint64_t size) : etag_(std::move(etag)), size_(size) {
  if (algorithm_of(etag_) == nullptr) return;
  state_ = std::make_unique<State>();
  INCONTEXT_ASSERT(state_->context != nullptr);
  restart();
}

BlobDigest::~BlobDigest() = default;

void BlobDigest::restart() {
  if (state_ == nullptr) return;
  base::check(::EVP_DigestInit_ex(state_->context, algorithm_of(etag_), nullptr) == 1,
              "OpenSSL: cannot compute the digest that '{}' needs", etag_);
  if (etag_.size() == kSha1Digits) {
    const std::string header = fmt::format("blob {}", size_);
    add(header.c_str(), header.size() + 1);  // with the zero at its end
  }
}

void BlobDigest::add(const void* bytes, size_t size) {
  if (state_ != nullptr) INCONTEXT_ASSERT(::EVP_DigestUpdate(state_->context, bytes, size) == 1);
}

std::string BlobDigest::difference() {
  if (state_ == nullptr) return "";
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  INCONTEXT_ASSERT(::EVP_DigestFinal_ex(state_->context, digest, &length) == 1);
  std::string got;
  for (unsigned int i = 0; i < length; ++i) got += fmt::format("{:02x}", digest[i]);
  if (got == etag_) return "";
  return fmt::format("expected {} {}, got {}", etag_.size() == kSha256Digits ? "SHA-256" : "git SHA-1", etag_, got);
}

}  // namespace incontext::hub
