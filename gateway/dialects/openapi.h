// GET /openapi.json: the routes of a router and the tables of its dialects as OpenAPI 3.1.
#pragma once

#include <string>
#include <string_view>

#include "gateway/http/router.h"

namespace conclave::gateway {

// Every route that stands in a table, under every path it is served by; a body's schema has all
// rows of its table, with what happens to each as "x-treatment". Families that are not served are
// listed under "x-not-served".
std::string OpenApiJson(const Router& router, std::string_view version);

}  // namespace conclave::gateway
