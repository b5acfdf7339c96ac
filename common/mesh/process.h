// What every binary that speaks gRPC does first.
#pragma once

#include <string_view>

namespace conclave::mesh {

// First line of main(). Switches off Abseil's lock-order cycle detection: Debian builds Abseil with
// its debug checks on, where taking two mutexes in opposite orders once (gRPC does) aborts the
// process. Tests do not call it, so they keep the check. `name` is the process's name in its logs.
void InitProcess(std::string_view name);

}  // namespace conclave::mesh
