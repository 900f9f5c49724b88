#include "hub/url.h"

#include "support/errors.h"

namespace incontext::hub {
namespace {

using incontext::testing::error_of;

TEST(Url, EncodesWhatAddressesReserve) {
  EXPECT_EQ(percent_encode("a b/c?d#e%f~", true), "a%20b/c%3Fd%23e%25f~");
  EXPECT_EQ(percent_encode("refs/pr/1", false), "refs%2Fpr%2F1");
  EXPECT_EQ(percent_encode("\xc3\xa4", true), "%C3%A4");
}

TEST(Url, OriginsAreSchemeHostAndPort) {
  EXPECT_EQ(origin_of("https://HUB.co/a?b"), "https://hub.co:443");
  EXPECT_EQ(origin_of("https://hub.co:443/x"), origin_of("https://hub.co"));
  EXPECT_NE(origin_of("http://hub.co"), origin_of("https://hub.co"));
  EXPECT_NE(origin_of("http://127.0.0.1:81"), origin_of("http://127.0.0.1:82"));
  EXPECT_EQ(origin_of("https://hub.co@evil.co/"), "https://evil.co:443");
  EXPECT_CONTAINS(error_of([] { origin_of("file:///etc/passwd"); }), "expected an http or https address");
}

TEST(Url, LocationsAreSeenFromWhereTheyStand) {
  EXPECT_EQ(resolve_location("https://hub.co/a/b", "/c?d"), "https://hub.co/c?d");
  EXPECT_EQ(resolve_location("https://hub.co/a/b", "c"), "https://hub.co/a/c");
  EXPECT_EQ(resolve_location("https://hub.co/a/b", "//cdn.co/c"), "https://cdn.co/c");
  EXPECT_EQ(resolve_location("https://hub.co/a/b", "https://cdn.co/c?x=1"), "https://cdn.co/c?x=1");
}

TEST(Url, MessagesHoldNoSecrets) {
  EXPECT_EQ(shown_url("https://me:word@hub.co/a?signature=1#x"), "https://hub.co/a");
  EXPECT_EQ(error_of([] { resolve_location("https://me:word@hub.co/a?s=1", "http://[x?s=2"); }),
            "https://hub.co/a: redirects to 'http://[x', which is no address");
}

}  // namespace
}  // namespace incontext::hub
