// One plain gRPC channel to one peer, with the arguments every caller of the mesh uses: small
// per-stream windows (so that a reader who stops reading stops the writer), keepalive, 64 MiB
// messages, no connection shared with other channels of the process.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/options.h"
#include "base/status.h"

namespace grpc {
class ChannelInterface;
class ClientContext;
}  // namespace grpc

namespace conclave::mesh {

// TLS of the calls to the other services. Empty ca_file = plain text.
struct ClientTls {
  std::string ca_file;
  std::string cert_file;  // with key_file: the client's own certificate (mTLS)
  std::string key_file;
  std::string server_name;  // expected in the certificate; empty = the address's host
};

// What the files hold; empty where none is named.
struct ClientPem {
  std::string roots;
  std::string chain;
  std::string key;
};
// INVALID_ARGUMENT: one cannot be read, or there is a certificate without a key.
absl::StatusOr<ClientPem> ReadPem(const ClientTls& tls);

// mesh-tls-ca-file, mesh-tls-cert-file, mesh-tls-key-file, mesh-tls-server-name.
void AddClientTlsOptions(base::OptionSet& options, ClientTls* tls);

// `address` is host:port, or "dns:///name:port" for round robin over replicas of one service
// ("ipv4:a:port,b:port" where they have no name). A replica that says it is not ready gets no
// calls. INVALID_ARGUMENT when the TLS files cannot be read. Connects on first use.
absl::StatusOr<std::shared_ptr<grpc::ChannelInterface>> OpenChannel(const std::string& address,
                                                                    const ClientTls& tls);

// What every call takes.
struct CallOptions {
  // For the whole call, retries included.
  std::chrono::steady_clock::time_point deadline =
      std::chrono::steady_clock::now() + std::chrono::seconds(60);
};

// A call in flight. Dropping the handle does not cancel.
class CallHandle {
 public:
  virtual ~CallHandle() = default;
  // Thread-safe, idempotent; the call then ends with CANCELLED through its usual last callback.
  virtual void Cancel() = 0;
};

}  // namespace conclave::mesh
