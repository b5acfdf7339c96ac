#include "base/utf8.h"

#include "catch2/catch.hpp"

namespace conclave::base {

TEST_CASE("a sequence is as long as its lead byte says, when the rest is there") {
  CHECK(Utf8SequenceLength("a") == 1);
  CHECK(Utf8SequenceLength("\xC3\xA4z") == 2);
  CHECK(Utf8SequenceLength("\xE2\x82\xAC") == 3);
  CHECK(Utf8SequenceLength("\xF0\x9F\x98\x80") == 4);
  CHECK(Utf8SequenceLength("\xE2\x82") == 0);
}

TEST_CASE("text is UTF-8 or it is not") {
  CHECK(IsValidUtf8(""));
  CHECK(IsValidUtf8("a\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80"));
  CHECK_FALSE(IsValidUtf8("a\x80"));             // continuation without a lead
  CHECK_FALSE(IsValidUtf8("\xC0\xAF"));          // overlong
  CHECK_FALSE(IsValidUtf8("\xE0\x9F\xBF"));      // overlong
  CHECK_FALSE(IsValidUtf8("\xED\xA0\x80"));      // surrogate
  CHECK_FALSE(IsValidUtf8("\xF4\x90\x80\x80"));  // above U+10FFFF
  CHECK_FALSE(IsValidUtf8("a\xF0\x9F\x98"));     // cut off
}

TEST_CASE("a prefix ends between characters") {
  CHECK(Utf8Prefix("abc", 3) == "abc");
  CHECK(Utf8Prefix("abc", 2) == "ab");
  CHECK(Utf8Prefix("a\xE2\x82\xAC", 4) == "a\xE2\x82\xAC");
  CHECK(Utf8Prefix("a\xE2\x82\xAC", 3) == "a");
  CHECK(Utf8Prefix("\xE2\x82\xAC", 2).empty());
}

}  // namespace conclave::base
