// What is in the JSON answers of the routes, for /openapi.json: the members that are always there.
// tests/unit/gateway/dialects/openapi_test.cc asks every route and looks.
#pragma once

#include <span>
#include <string_view>

namespace conclave::gateway {

struct AnswerFields {
  std::string_view method;
  std::string_view path;    // an Endpoint's
  std::string_view fields;  // "id:string choices:array"; types of JSON Schema
};

std::span<const AnswerFields> AllAnswerFields();
// Of one endpoint; empty when nothing is told.
std::string_view AnswerFieldsOf(std::string_view method, std::string_view path);

}  // namespace conclave::gateway
