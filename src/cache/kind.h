#pragma once

#include <memory>
#include <span>
#include <string>

#include "base/registry.h"
#include "cache/kv_cache.h"
#include "cache/policy.h"

namespace incontext::cache {

/// A kind of cache with its options and what it has opened for them (a dictionary, say): made once from a policy, never
/// changed, and shared by all caches that it makes, on any thread.
class CacheKind {
 public:
  virtual ~CacheKind() = default;

  /// The text by which parse_policy() and open_kind() would make it again. Kinds of one text are interchangeable.
  virtual std::string policy() const = 0;
  virtual std::unique_ptr<KvCache> make(const CacheShape& shape) const = 0;
  /// Tells what the policy opened from that of other kinds of the same text, such as a dictionary that took another's
  /// place: saved caches are read with their own only. Empty where the policy says all.
  virtual std::string opened() const { return {}; }
  /// Bytes that a cache of `shape.capacity` tokens holds when it is full.
  virtual int64_t bytes(const CacheShape& shape) const = 0;
  /// The most that it holds while a prompt of `prompt` tokens is read, where that is more: a kind that compresses at
  /// the end of a prompt holds all of it exactly until then.
  virtual int64_t reading_bytes(const CacheShape& shape, int64_t /*prompt*/) const { return bytes(shape); }
  /// The most that it holds once a prompt of `prompt` tokens has been read, where that is less.
  virtual int64_t bytes_after(const CacheShape& shape, int64_t /*prompt*/) const { return bytes(shape); }
  /// Bytes that all caches of this kind share, such as a dictionary.
  virtual int64_t fixed_bytes() const { return 0; }
  /// Whether end_of_prompt() compresses: then a prompt serves others only by a copy that is made before.
  virtual bool compresses_prompts() const { return false; }
  /// KvCache::attend() of each; a kind that can serves all in one kernel call. All caches are of this kind.
  virtual void attend(int64_t layer, std::span<const Attending> sequences, const Scores& scores) const;
};

/// The model that a kind is opened for: an artefact that was fitted to another is refused.
struct CachedModel {
  CacheShape shape;  // the capacity is not used
  std::string fingerprint = {};
  bool sliding_window = false;  // whether layers attend to the last positions only
};

/// A row of the table of kinds. `make` reads the policy's options; unknown ones are Errors that list the known ones.
struct CacheKindRow {
  std::string name;
  std::string help;  // its options, for the command line's help
  std::shared_ptr<const CacheKind> (*make)(const CachePolicy& policy, const CachedModel& model) = nullptr;
  bool opens_files = false;  // its options name files: who serves others lets them name only what it was given itself
};

/// The kinds that a policy can name. A new one is a file (or folder) in kinds/ and a row in kind.cpp.
base::Registry<CacheKindRow>& cache_kinds();

/// The kind that a policy names; unknown kinds and options are Errors that list the known ones.
std::shared_ptr<const CacheKind> open_kind(const CachePolicy& policy, const CachedModel& model);

/// An empty cache of the kind that `policy` names, for those who need one alone.
std::unique_ptr<KvCache> make_cache(const CachePolicy& policy, const CacheShape& shape);

}  // namespace incontext::cache
