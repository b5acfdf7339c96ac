// conclave-store: durable assistants, threads, messages and runs.
#include <cstdio>
#include <memory>

#include "base/log.h"
#include "mesh/probe_server.h"
#include "mesh/process.h"
#include "store/store.h"

namespace {

using conclave::store::Store;
using conclave::store::StoreOptions;

// How long the process waits at its start for a database that is itself starting.
constexpr std::chrono::seconds kDatabaseWait{60};

int Fail(const char* what, const absl::Status& status) {
  std::fprintf(stderr, "conclave-store: %s: %s\n", what, std::string(status.message()).c_str());
  return 1;
}

int Serve(const StoreOptions& options, conclave::base::Shutdown& shutdown) {
  absl::StatusOr<std::unique_ptr<Store>> store =
      Store::Open(options, kDatabaseWait, [&shutdown] { return shutdown.requested(); });
  if (!store.ok()) return Fail("cannot open the store", store.status());
  const auto probes = conclave::mesh::ProbeServer::Start(
      options.probe_listen, {.live = {},
                             .ready = [&store] { return (*store)->NotReadyReason(); },
                             .metrics = [&store] { return (*store)->metrics().Text(); }});
  if (!probes.ok()) return Fail("cannot serve probes", probes.status());
  if (absl::Status started = (*store)->Start(); !started.ok()) {
    return Fail("cannot listen", started);
  }
  conclave::base::LogInfo("serving",
                          {{"listen", options.server.listen}, {"port", (*store)->port()}});
  shutdown.OnNotReady([&store] { (*store)->SetNotReady(); });
  shutdown.OnDrain([&store](conclave::base::SteadyTime deadline) { (*store)->Drain(deadline); });
  shutdown.OnStop([&store] { (*store)->Stop(); });
  return shutdown.Run({.settle = options.settle, .drain = options.drain});
}

}  // namespace

int main(int argc, char** argv) {
  StoreOptions options;
  conclave::base::OptionSet set("conclave-store",
                                "Assistants, threads, messages and runs, kept in PostgreSQL.");
  conclave::store::AddStoreOptions(set, &options);
  return conclave::mesh::RunProcess(
      set, options.log_level, argc, argv,
      [&options](conclave::base::Shutdown& shutdown) { return Serve(options, shutdown); });
}
