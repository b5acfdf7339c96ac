// The real services behind services.h: the clients of common/mesh, their callbacks turned into
// streams.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "base/options.h"
#include "gateway/upstream/services.h"
#include "mesh/discovery.h"
#include "mesh/embedding_client.h"
#include "mesh/inference_client.h"
#include "mesh/store_client.h"

namespace conclave::gateway {

struct UpstreamOptions {
  std::vector<std::string> inference_workers = {"127.0.0.1:50051"};
  std::vector<std::string> embedding_workers;
  std::string store;  // empty = no stateful surfaces
  mesh::ClientTls tls;
};

// Owns the mesh clients. Destroy it after the HTTP server: handlers use what it gives out.
class Clients final {
 public:
  // INVALID_ARGUMENT: an address or a TLS file. Waits for nobody.
  static absl::StatusOr<std::unique_ptr<Clients>> Open(const UpstreamOptions& options,
                                                       base::Metrics* metrics);
  ~Clients();
  // Ends the generations, which needs the loops they run on.
  void Stop();
  Clients(const Clients&) = delete;
  Clients& operator=(const Clients&) = delete;

  InferenceUpstream& inference();
  EmbeddingUpstream* embedding();  // null: none configured
  StoreUpstream* store();          // null: none configured
  ModelDirectory& models();
  WorkerAdmin& workers();
  ModelFiles& files();

 private:
  struct Impl;
  explicit Clients(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace conclave::gateway
