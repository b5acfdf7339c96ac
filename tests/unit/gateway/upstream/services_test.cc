#include "gateway/upstream/services.h"

#include "catch2/catch.hpp"

namespace conclave::gateway {
namespace {

std::string TraceparentOf(const std::string& header) {
  Request request;
  request.head.fields.push_back({"traceparent", header});
  return MetaOf(request).traceparent();
}

}  // namespace

TEST_CASE("a well-formed traceparent is passed on, anything else is not") {
  const std::string good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  CHECK(TraceparentOf(good) == good);
  CHECK(TraceparentOf("").empty());
  CHECK(TraceparentOf(good + "0").empty());
  CHECK(TraceparentOf("00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").empty());
  CHECK(TraceparentOf("00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01").empty());
  // A header may hold any byte; one that is not UTF-8 would make the whole message unreadable.
  CHECK(TraceparentOf("00-\xff"
                      "bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
            .empty());
}

}  // namespace conclave::gateway
