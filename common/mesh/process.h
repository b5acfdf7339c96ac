// The frame of every binary: from the arguments of main() to a drained end.
//
//   int main(int argc, char** argv) {
//     base::OptionSet options("conclave-worker", "Serves language models over gRPC.");
//     ProcessOptions process;
//     AddProcessOptions(options, &process);
//     return RunProcess(options, process.log_level, argc, argv,
//                       [&](base::Shutdown& shutdown) { return Serve(process, shutdown); });
//   }
#pragma once

#include <string>

#include "absl/functional/function_ref.h"
#include "base/options.h"
#include "base/shutdown.h"
#include "base/status.h"
#include "mesh/probe_server.h"

namespace conclave::mesh {

// What the workers' options have in common.
struct ProcessOptions {
  std::string probe_listen;
  std::string log_level = "info";
  base::Shutdown::Times times;
};

// log-level, probe-listen, settle, drain.
void AddProcessOptions(base::OptionSet& options, ProcessOptions* process);

// The whole of main(). `log_level` is read after the options. `serve` returns the exit code; an
// error of it is logged, and the code is 1.
int RunProcess(base::OptionSet& options, const std::string& log_level, int argc, char** argv,
               absl::FunctionRef<absl::StatusOr<int>(base::Shutdown&)> serve);

// What a started server does until the end: answers probes, waits for the signal, then NotReady,
// Drain and Stop.
template <typename Server>
absl::StatusOr<int> ServeUntilStopped(Server& server, const ProcessOptions& process,
                                      base::Shutdown& shutdown) {
  ASSIGN_OR_RETURN(const auto probes,
                   ProbeServer::Start(process.probe_listen,
                                      {.live = {},
                                       .ready = [&server] { return server.WhyNotReady(); },
                                       .metrics = [&server] { return server.metrics().Text(); }}));
  shutdown.OnNotReady([&server] { server.NotReady(); });
  shutdown.OnDrain([&server](base::SteadyTime deadline) { server.Drain(deadline); });
  shutdown.OnStop([&server] { server.Stop(); });
  return shutdown.Run(process.times);
}

}  // namespace conclave::mesh
