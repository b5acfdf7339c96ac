// The gRPC listener of a service: address, TLS, limits, keepalive, health, reflection, draining.
//
//   Server server(options.server);
//   InferenceService inference(&host, &server.gate());   // each handler enters the gate
//   server.AddService(&inference);
//   RETURN_IF_ERROR(server.Start());
//   server.SetReady(true);
//   …
//   server.Drain(deadline); server.Stop();               // by base/shutdown.h
//
// Default addresses: inference-worker 127.0.0.1:50051, embedding-worker 127.0.0.1:50052,
// assistant-store 127.0.0.1:50053; their probes on 9051, 9052, 9053; the gateway's HTTP on
// 127.0.0.1:8080.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/gate.h"
#include "base/options.h"
#include "base/status.h"

namespace grpc {
class Service;
}

namespace conclave::mesh {

struct ServerOptions {
  std::string listen = "127.0.0.1:50051";  // host:port; port 0 = any free one
  // Both or none. With a client CA, clients must show a certificate it signed (mTLS).
  std::string tls_cert_file;
  std::string tls_key_file;
  std::string tls_client_ca_file;
  int64_t message_bytes_max = int64_t{64} << 20;
  int streams_max = 10'000;  // concurrent, per connection
  // Connections are renewed after this long, so that new replicas get their share; 0 = never.
  std::chrono::milliseconds connection_age_max{30 * 60'000};
  std::chrono::milliseconds connection_age_grace{60 * 60'000};

  absl::Status Validate() const;
};

// listen, tls-cert-file, tls-key-file, tls-client-ca-file, message-bytes-max, … as options.
void AddServerOptions(base::OptionSet& options, ServerOptions* o);

// Thread-safe after Start. Owned by main().
class Server final {
 public:
  explicit Server(ServerOptions options);
  ~Server();  // stops
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Every handler that does work enters here and refuses with UNAVAILABLE when it cannot. Long
  // listeners (Watch, StreamRun) do not enter: draining does not wait for them, stopping cancels
  // them.
  base::Gate& gate();

  // Before Start; not owned, must outlive the server. The service's full name becomes a name of
  // grpc.health.v1.
  void AddService(grpc::Service* service);

  // UNAVAILABLE: the address cannot be bound; INVALID_ARGUMENT: the TLS files cannot be read.
  absl::Status Start();
  int port() const;  // the bound one

  // Health of "", "readiness" and every service; "liveness" is SERVING from Start to Stop.
  void SetReady(bool ready);
  bool ready() const;

  // Not ready, gate closed, then waits until every pass has left. False: some were still inside at
  // the deadline. The listener stays open, so that callers hear "draining" rather than a refusal.
  bool Drain(base::SteadyTime deadline);

  // Closes the listener, cancels what is left, joins. Idempotent.
  void Stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// "draining": what a handler answers when the gate is closed. UNAVAILABLE, so callers go elsewhere.
absl::Status DrainingError();

}  // namespace conclave::mesh
