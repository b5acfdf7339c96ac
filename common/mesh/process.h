// What every binary that speaks gRPC does first.
#pragma once

namespace conclave::mesh {

// First line of main(). Switches off Abseil's lock-order cycle detection: Debian builds Abseil with
// its debug checks on, where taking two mutexes in opposite orders once (gRPC does) aborts the
// process. Tests do not call it, so they keep the check.
void InitProcess();

}  // namespace conclave::mesh
