// What the errors of each family of paths look like, in one piece and at the end of a stream that
// broke. The checks are Catch2's.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "gateway/dialects/coverage.h"
#include "gateway/http/router.h"

namespace conclave::gateway {

struct ErrorForm {
  ErrorBody body;  // what the family's paths are known by
  void (*check)(base::JsonValue body);
  // With an error in the family's form, and without the end of a stream that is whole.
  void (*check_broken_stream)(const std::string& body);
};

const ErrorForm& FormOf(const Router& router, std::string_view method, std::string_view path);
const ErrorForm& FormOf(const Router& router, const Endpoint& endpoint);

// Registrations are Llama Stack's, and one of them has a path of OpenAI's.
bool IsRegistration(const Endpoint& endpoint);

// The text as JSON; the test fails when it is none.
base::JsonDocument Parsed(const std::string& body);

}  // namespace conclave::gateway
