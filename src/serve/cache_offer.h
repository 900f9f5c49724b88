#pragma once

#include <string>
#include <vector>

#include "cache/policy.h"

namespace incontext::serve {

/// Which cache policies requests may name: those that the server was given, and of every kind that opens no files any.
/// So no request chooses a file that the server reads.
class CacheOffer {
 public:
  /// A policy that the server was given, as it was written and as its kind spells it.
  struct Given {
    std::string text, policy;
  };

  /// `given`: the first is the default. Two of one policy are an Error. `kinds`: the names of kinds that open no files.
  CacheOffer(std::vector<Given> given, std::vector<std::string> kinds);

  /// The policy that a request's text names: one that was given, by its text or by its kind where no other of that kind
  /// was given and the kind opens files; or any of a kind that opens none. Otherwise an Error that lists what is
  /// offered.
  cache::CachePolicy find(const std::string& text) const;

  /// What was given, then the other kinds.
  const std::vector<std::string>& names() const { return names_; }

 private:
  bool open_to_all(const std::string& kind) const;
  [[noreturn]] void refuse(const std::string& text, const std::string& why) const;

  std::vector<Given> given_;
  std::vector<std::string> kinds_;
  std::vector<std::string> names_;
};

/// The kinds of cache/kind.h that open no files.
std::vector<std::string> kinds_without_files();

}  // namespace incontext::serve
