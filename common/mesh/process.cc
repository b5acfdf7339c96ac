#include "mesh/process.h"

#include "absl/synchronization/mutex.h"

namespace conclave::mesh {

void InitProcess() { absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore); }

}  // namespace conclave::mesh
