#include "text/template_cursor.h"

#include "base/text.h"

namespace incontext::text {

std::string TemplateCursor::shown() const {
  switch (now().kind) {
    case TokenKind::end:
      return "the end of the template";
    case TokenKind::block_end:
      return "'%}'";
    case TokenKind::output_end:
      return "'}}'";
    case TokenKind::string:
      return "a text";
    default:
      return "'" + base::clip(base::printable(now().text), 40) + "'";
  }
}

}  // namespace incontext::text
