// The settings of conclave-store.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/options.h"
#include "mesh/channel.h"
#include "mesh/server.h"

namespace conclave::store {

struct StoreOptions {
  mesh::ServerOptions server{.listen = "127.0.0.1:50053"};
  std::string probe_listen = "127.0.0.1:9053";
  std::string database = "host=/var/run/postgresql dbname=conclave";
  int database_connections = 16;
  int call_threads = 8;
  int listeners_max = 10'000;
  std::chrono::milliseconds run_expiry{600'000};
  // host:port each; names are resolved again and again. None: runs stay queued.
  std::vector<std::string> inference_workers;
  std::vector<std::string> embedding_workers;
  mesh::ClientTls mesh_tls;
  int executor_threads = 16;  // runs executed at the same time
  std::chrono::milliseconds lease{15'000};
  std::chrono::milliseconds flush_every{100};
  std::chrono::milliseconds worker_patience{60'000};
  std::chrono::milliseconds settle{0};
  std::chrono::milliseconds drain{30'000};
  std::string log_level = "info";
};

void AddStoreOptions(base::OptionSet& options, StoreOptions* o);

}  // namespace conclave::store
