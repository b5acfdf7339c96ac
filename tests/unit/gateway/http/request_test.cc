#include "gateway/http/request.h"

#include "catch2/catch.hpp"

namespace conclave::gateway {

TEST_CASE("queries are decoded pair by pair") {
  Request request;
  request.head.query = "limit=2&order=asc&include[]=a%2Fb+c&flag&=x&bad=%zz&limit=3";
  CHECK(request.Query("limit") == "2");
  CHECK(request.Query("order") == "asc");
  CHECK(request.Query("include[]") == "a/b c");
  CHECK(request.Query("flag") == "");
  CHECK_FALSE(request.Query("bad").has_value());
  CHECK_FALSE(request.Query("missing").has_value());
}

TEST_CASE("percent escapes must be whole and never NUL") {
  CHECK(PercentDecode("a%20b", false) == "a b");
  CHECK(PercentDecode("a+b", false) == "a+b");
  CHECK(PercentDecode("a+b", true) == "a b");
  CHECK_FALSE(PercentDecode("%", false).has_value());
  CHECK_FALSE(PercentDecode("%2", false).has_value());
  CHECK_FALSE(PercentDecode("%00", false).has_value());
}

TEST_CASE("what escapes spell must be UTF-8") {
  CHECK(PercentDecode("%C3%A4", false) == "ä");
  CHECK_FALSE(PercentDecode("%FF", false).has_value());
  CHECK_FALSE(PercentDecode("%C3", true).has_value());
  CHECK_FALSE(PercentDecode("%ED%A0%80", true).has_value());
}

}  // namespace conclave::gateway
