// Which names of a Host header and of an origin are those of this machine.

#include "serve/authority.h"

#include <gtest/gtest.h>

namespace incontext::serve {
namespace {

TEST(Authority, IsLoopbackWhereItParsesAsOne) {
  for (const char* mine :
       {"localhost", "LOCALHOST", "localhost.", "localhost:80", "LocalHost.:8080", "a.localhost", "a.b.LOCALHOST.:1",
        "localhost:", "127.0.0.1", "127.0.0.1:8080", "127.255.255.254", "[::1]", "[::1]:8080", "[0:0:0:0:0:0:0:1]",
        "[0000:0000:0000:0000:0000:0000:0000:0001]:1", "[::ffff:127.0.0.1]", "[::FFFF:7f00:1]:65535"}) {
    const auto parsed = parse_authority(mine);
    EXPECT_TRUE(parsed && parsed->loopback) << mine;
  }
  for (const char* other : {"127.0.0.1.evil.example",
                            "127.0.0.1.evil.example:8080",
                            "127.evil.example",
                            "127.0.0.1evil",
                            "127.0.0",
                            "127.1",
                            "127.0.0.256",
                            "0127.0.0.1",
                            "128.0.0.1",
                            "0.0.0.0",
                            "localhost.evil.example",
                            "evil-localhost",
                            "notlocalhost",
                            "localhost..",
                            ".localhost",
                            "a..localhost",
                            "[::2]",
                            "[::ffff:128.0.0.1]",
                            "[::127.0.0.1]",
                            "[::1",
                            "::1",
                            "[::1]x",
                            "[::1]:x",
                            "[127.0.0.1]",
                            "[localhost]",
                            "localhost:80x",
                            "localhost:65536",
                            "localhost:-1",
                            "localhost:80:80",
                            "user@localhost",
                            "localhost@evil.example",
                            "localhost/",
                            "localhost#",
                            "local host",
                            "[::1%25lo]",
                            "",
                            ":80",
                            "[]",
                            "evil.example",
                            "127.0.0.1 ",
                            "localhost,evil.example"}) {
    const auto parsed = parse_authority(other);
    EXPECT_FALSE(parsed && parsed->loopback) << other;
  }
}

TEST(Authority, TellsNameAndPort) {
  const auto name = parse_authority("Example.ORG.:8080");
  ASSERT_TRUE(name);
  EXPECT_EQ(name->name, "example.org");
  EXPECT_EQ(name->port, 8080);
  const auto address = parse_authority("[0:0::0:1]");
  ASSERT_TRUE(address);
  EXPECT_EQ(address->name, "::1");
  EXPECT_EQ(address->port, -1);
}

TEST(Authority, KnowsThePagesOfAHost) {
  const auto is_page = [](const char* origin, const char* host) {
    const auto at = parse_authority(host);
    return at && is_page_of(origin, *at);
  };
  EXPECT_TRUE(is_page("http://localhost:8080", "LOCALHOST.:8080"));
  EXPECT_TRUE(is_page("https://localhost:8080", "localhost:8080"));
  EXPECT_TRUE(is_page("http://127.0.0.1", "127.0.0.1"));
  EXPECT_TRUE(is_page("http://127.0.0.1", "127.0.0.1:80"));
  EXPECT_TRUE(is_page("https://example.org:443", "example.org"));
  EXPECT_TRUE(is_page("http://[::1]:8080", "[0:0:0:0:0:0:0:1]:8080"));
  for (const auto& [origin, host] :
       std::vector<std::pair<const char*, const char*>>{{"http://localhost:8081", "localhost:8080"},
                                                        {"http://127.0.0.1:8080", "localhost:8080"},
                                                        {"http://localhost", "localhost:8080"},
                                                        {"http://localhost:8080.evil.example", "localhost:8080"},
                                                        {"http://localhost:8080@evil.example", "localhost:8080"},
                                                        {"http://evil@localhost:8080", "localhost:8080"},
                                                        {"http://localhost:8080/path", "localhost:8080"},
                                                        {"ftp://localhost:8080", "localhost:8080"},
                                                        {"localhost:8080", "localhost:8080"},
                                                        {"null", "localhost:8080"},
                                                        {"", "localhost:8080"}}) {
    EXPECT_FALSE(is_page(origin, host)) << origin << " " << host;
  }
}

TEST(Authority, ComparesOriginsAsBrowsersDo) {
  EXPECT_TRUE(same_origin("https://Good.example", "https://good.example:443"));
  EXPECT_FALSE(same_origin("https://good.example", "http://good.example"));
  EXPECT_FALSE(same_origin("https://good.example", "https://good.example:444"));
  EXPECT_FALSE(same_origin("https://good.example", "https://good.example.evil.example"));
  EXPECT_FALSE(same_origin("null", "null"));
}

}  // namespace
}  // namespace incontext::serve
