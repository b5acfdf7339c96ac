#include "store/options.h"

namespace conclave::store {

void AddStoreOptions(base::OptionSet& options, StoreOptions* o) {
  mesh::AddServerOptions(options, &o->server);
  options.Add("probe-listen", &o->probe_listen, "address of probes and metrics, host:port");
  options.AddSecret("database", &o->database,
                    "PostgreSQL, as \"host=… dbname=…\" or postgresql://…; may hold a password");
  options.Add("database-connections", &o->database_connections, "connections at most", 4, 256);
  options.Add("call-threads", &o->call_threads, "threads that answer calls", 1, 128);
  options.Add("listeners-max", &o->listeners_max, "run streams at most", 1, 1'000'000);
  options.Add("run-expiry", &o->run_expiry,
              "a run that has not ended this long after its creation expires",
              std::chrono::milliseconds(1000), std::chrono::hours(24));
  options.Add("inference-workers", &o->inference_workers,
              "inference workers, host:port each; none: runs stay queued");
  options.Add("embedding-workers", &o->embedding_workers,
              "embedding workers, host:port each; for vector stores, which are not served yet");
  mesh::AddClientTlsOptions(options, &o->mesh_tls);
  options.Add("executor-threads", &o->executor_threads, "runs executed at the same time", 1, 1024);
  options.Add("lease", &o->lease, "a replica that is silent this long loses its runs to others",
              std::chrono::milliseconds(300), std::chrono::minutes(10));
  options.Add("flush-every", &o->flush_every, "how often a run's text is committed and told",
              std::chrono::milliseconds(1), std::chrono::milliseconds(250));
  options.Add("worker-patience", &o->worker_patience,
              "how long a run waits for an inference worker before it fails",
              std::chrono::milliseconds(0), std::chrono::hours(1));
  options.Add("settle", &o->settle, "on SIGTERM, between not ready and draining",
              std::chrono::milliseconds(0), std::chrono::hours(1));
  options.Add("drain", &o->drain, "how long calls may go on after SIGTERM",
              std::chrono::milliseconds(0), std::chrono::hours(1));
  options.AddChoice("log-level", &o->log_level, {"debug", "info", "warning", "error"},
                    "lines below this are dropped");
}

}  // namespace conclave::store
