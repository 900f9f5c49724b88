// Bodies in chunks, as RFC 9112, 7.1 has them.

#include "serve/chunked_body.h"

#include <gtest/gtest.h>

namespace incontext::serve {
namespace {

using State = ChunkedBody::State;

struct Read {
  State state;
  std::string body;
  size_t excess;
  bool operator==(const Read&) const = default;
};

Read read(const std::string& bytes, size_t piece, size_t most = 100) {
  ChunkedBody body(most, /*keep=*/true);
  for (size_t at = 0; at < bytes.size(); at += piece) {
    if (body.add(std::string_view(bytes).substr(at, piece)) != State::going_on) break;
  }
  const State state = body.state();
  const size_t excess = body.excess();
  return {state, body.take(), excess};
}

TEST(ChunkedBody, IsReadHoweverItIsCut) {
  const std::vector<std::pair<std::string, std::string>> all = {
      {"0\r\n\r\n", ""},
      {"5\r\nhello\r\n0\r\n\r\n", "hello"},
      {"5\r\nhello\r\nA\r\n, world\r\n!\r\n000\r\n\r\n", "hello, world\r\n!"},
      {"5;name=value;other=\"x\"\r\nhello\r\n0;last\r\n\r\n", "hello"},
      {"5 ; x\r\nhello\r\n0 \r\n\r\n", "hello"},
      {"5\r\nhello\r\n0\r\nExpires: never\r\nContent-MD5: x\r\n\r\n", "hello"}};
  for (const auto& [bytes, body] : all) {
    for (const size_t piece : {size_t{1}, size_t{3}, bytes.size()}) {
      EXPECT_EQ(read(bytes, piece), (Read{State::whole, body, 0})) << bytes << piece;
    }
    for (size_t end = 0; end < bytes.size(); ++end) {
      EXPECT_EQ(read(bytes.substr(0, end), 4096).state, State::going_on) << bytes << end;
    }
  }
}

TEST(ChunkedBody, IsRefusedWhereTwoReadersCouldDiffer) {
  for (const std::string bytes : {"5\nhello\n0\n\n", "5\r\nhello0\r\n\r\n", "5\r\nhello\n0\r\n\r\n", "zz\r\n", "-1\r\n",
                                  "+5\r\nhello\r\n", "0x5\r\nhello\r\n", "\r\n", "5 6\r\nhello\r\n",
                                  "5\r\nhello\r\n0\r\nno trailer\r\n\r\n", "5\r \n", "0\r\nA: b\n\r\n"}) {
    EXPECT_EQ(read(bytes, 1).state, State::malformed) << bytes;
    EXPECT_EQ(read(bytes, 4096).state, State::malformed) << bytes;
  }
  EXPECT_EQ(read("1;" + std::string(5000, 'x'), 4096).state, State::malformed);
}

TEST(ChunkedBody, HasALimit) {
  EXPECT_EQ(read("5\r\nhello\r\n0\r\n\r\n", 1, 5).state, State::whole);
  EXPECT_EQ(read("5\r\nhello\r\n0\r\n\r\n", 1, 4).state, State::too_large);
  EXPECT_EQ(read("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 1, 4).state, State::too_large);
  EXPECT_EQ(read("ffffffffffffffff\r\n", 1).state, State::too_large);
  EXPECT_EQ(read("fffffffffffffffff\r\n", 1).state, State::too_large);
  std::string trailers = "0\r\n";
  for (int i = 0; i < 100; ++i) trailers += "A: " + std::string(1000, 'x') + "\r\n";
  EXPECT_EQ(read(trailers, 4096).state, State::too_large);
  ChunkedBody counted(4, /*keep=*/false);
  EXPECT_EQ(counted.add("3\r\nabc\r\n2\r\nde\r\n"), State::too_large);
  EXPECT_EQ(counted.take(), "");
}

TEST(ChunkedBody, TellsOfWhatFollows) {
  EXPECT_EQ(read("1\r\na\r\n0\r\n\r\nGET /", 4096), (Read{State::whole, "a", 5}));
}

}  // namespace
}  // namespace incontext::serve
