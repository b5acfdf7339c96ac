// The scripted backend without a file: for tests that bring their script along.
#pragma once

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "backends/backend.h"

namespace conclave::backends {

// script.h has the format.
absl::StatusOr<std::unique_ptr<Backend>> MakeScripted(std::string_view json);

}  // namespace conclave::backends
