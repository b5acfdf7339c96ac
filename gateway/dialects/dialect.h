// A REST dialect: a set of routes and a way to write errors.
#pragma once

#include <span>
#include <string_view>

#include "gateway/dialects/coverage.h"
#include "gateway/http/router.h"
#include "gateway/upstream/services.h"

namespace conclave::gateway {

struct Dialect {
  std::string_view name;
  // `services` outlives the router's handlers.
  void (*add_routes)(Router& router, const Services& services);
  // Every route of add_routes, and what it does with each parameter.
  Coverage (*coverage)();
};

// Every dialect there is; a new one is a row in all.cc.
std::span<const Dialect> AllDialects();

}  // namespace conclave::gateway
