// Several answers from a backend that gives one at a time: each is a request of its own, and the
// caller hears one stream of events.
#pragma once

#include <memory>

#include "backends/backend.h"

namespace conclave::backends {

// `backend` with requests of n > 1 cut into n of it, under the ids "ID/0", "ID/1", …. A seed is the
// first one's; the others' are drawn from it. The prompt counts once. The first failure ends all
// with it; refused is all or nothing. Everything else is the backend's own.
std::unique_ptr<Backend> FanOutAnswers(std::unique_ptr<Backend> backend);

}  // namespace conclave::backends
