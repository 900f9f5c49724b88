#include "hub/refusal.h"

#include <fmt/format.h>

#include "base/text.h"
#include "hub/url.h"

namespace incontext::hub {

void fail_refused(const HttpAnswer& answer, const ModelName& name, const Environment& environment, bool with_token) {
  constexpr size_t kMostWords = 200;
  const std::string code = answer.header("x-error-code");
  const std::string page = shown_url(environment.endpoint + "/" + name.repository);
  std::string told = base::clip(base::printable(answer.header("x-error-message")), kMostWords);
  if (!told.empty()) told = fmt::format(" (it says: {})", told);
  const std::string where = fmt::format("{}: {} answered {}", name.text(), shown_url(answer.url), answer.status);

  if (code == "GatedRepo") {
    base::fail("{}: the model is gated: accept its licence at {} and set HF_TOKEN to a token of that account{}", where,
               page, told);
  }
  if (code == "RevisionNotFound") base::fail("{}: the model has no revision '{}'{}", where, name.revision, told);
  if (code == "EntryNotFound") base::fail("{}: the revision has no such file{}", where, told);
  // The hub answers 401 about models that do not exist, so as not to tell which private ones do.
  if (answer.status == 401 && with_token) {
    base::fail("{}: there is no such model, or the token (HF_TOKEN) is wrong or may not read it{}", where, told);
  }
  if (answer.status == 401) {
    base::fail("{}: there is no such model, or it is private: check the name, or set HF_TOKEN{}", where, told);
  }
  if (answer.status == 403) {
    base::fail(
        "{}: access refused: accept the licence at {} if it asks for that, and set HF_TOKEN to a token that "
        "may read it{}",
        where, page, told);
  }
  if (answer.status == 404) {
    base::fail("{}: there is no such model or no revision '{}'{}", where, name.revision, told);
  }
  base::fail("{}: expected 200{}", where, told);
}

}  // namespace incontext::hub
