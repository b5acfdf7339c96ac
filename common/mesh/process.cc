#include "mesh/process.h"

#include <sys/resource.h>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/config.h"
#include "base/log.h"

namespace conclave::mesh {
namespace {

// As many as the system lets us: the usual 1,024 are for programs that use select().
void RaiseOpenFiles() {
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
}

}  // namespace

void AddProcessOptions(base::OptionSet& options, ProcessOptions* process) {
  options.AddChoice("log-level", &process->log_level, {"debug", "info", "warning", "error"},
                    "lines below are dropped");
  options.Add("probe-listen", &process->probe_listen, "address of /livez, /readyz and /metrics");
  options.Add("settle", &process->times.settle, "on SIGTERM, between not ready and draining");
  options.Add("drain", &process->times.drain, "on SIGTERM, what running requests may still take");
}

int RunProcess(base::OptionSet& options, const std::string& log_level, int argc, char** argv,
               absl::FunctionRef<absl::StatusOr<int>(base::Shutdown&)> serve) {
  // Debian builds Abseil with its debug checks on, where taking two mutexes in opposite orders once
  // (gRPC does) aborts the process. Tests do not come here, so they keep the check.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  RaiseOpenFiles();
  // Before any thread: it blocks the signals.
  base::Shutdown shutdown;
  if (const auto code = base::HandleOptions(options, argc, argv)) return *code;
  base::LogLevel level = base::LogLevel::kInfo;
  base::ParseLogLevel(log_level, &level);
  base::SetLogLevel(level);
  const absl::StatusOr<int> code = serve(shutdown);
  if (code.ok()) return *code;
  base::LogError(absl::StrCat(options.program(), " cannot start"),
                 {{"error", code.status().ToString()}});
  return 1;
}

}  // namespace conclave::mesh
