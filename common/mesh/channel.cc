#include "mesh/channel.h"

#include <grpcpp/grpcpp.h>

#include <fstream>
#include <iterator>
#include <utility>

#include "mesh/client_queue.h"

namespace conclave::mesh {
namespace {

constexpr int kMessageBytesMax = 64 << 20;

absl::Status ReadInto(const std::string& path, std::string* text) {
  if (path.empty()) return absl::OkStatus();
  std::ifstream file(path, std::ios::binary);
  if (!file) return base::InvalidArgument("cannot read " + path);
  text->assign(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> Credentials(const ClientTls& tls) {
  ASSIGN_OR_RETURN(ClientPem pem, ReadPem(tls));
  if (tls.ca_file.empty()) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = std::move(pem.roots);
  options.pem_cert_chain = std::move(pem.chain);
  options.pem_private_key = std::move(pem.key);
  return grpc::SslCredentials(options);
}

grpc::ChannelArguments Arguments(const ClientTls& tls, bool round_robin) {
  grpc::ChannelArguments args;
  args.SetMaxReceiveMessageSize(kMessageBytesMax);
  args.SetMaxSendMessageSize(kMessageBytesMax);
  // A stream nobody reads may hold 64 KB in flight, not the megabytes the bandwidth probe grants.
  args.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  args.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 16 << 10);
  // A cut connection is noticed within 15 s even in silence; streams notice sooner by heartbeats.
  args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 10'000);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5'000);
  args.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  args.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  // Peers restart within seconds; the default backoff grows to two minutes.
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1'000);
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1'000);
  // Two channels of one process to the same peer do not share a connection and its locks.
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // http_proxy is for the outside world.
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  if (round_robin) {
    args.SetLoadBalancingPolicyName("round_robin");
    args.SetInt(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, 2'000);
    // A replica that is about to drain says so first; then the name is also resolved again.
    args.SetServiceConfigJSON(R"({"healthCheckConfig": {"serviceName": "readiness"}})");
  }
  if (!tls.server_name.empty()) args.SetSslTargetNameOverride(tls.server_name);
  return args;
}

}  // namespace

absl::StatusOr<ClientPem> ReadPem(const ClientTls& tls) {
  if (tls.cert_file.empty() != tls.key_file.empty()) {
    return base::InvalidArgument("mesh-tls-cert-file and mesh-tls-key-file: give both or none");
  }
  ClientPem pem;
  if (tls.ca_file.empty()) return pem;
  RETURN_IF_ERROR(ReadInto(tls.ca_file, &pem.roots));
  RETURN_IF_ERROR(ReadInto(tls.cert_file, &pem.chain));
  RETURN_IF_ERROR(ReadInto(tls.key_file, &pem.key));
  return pem;
}

void AddClientTlsOptions(base::OptionSet& options, ClientTls* tls) {
  options.Add("mesh-tls-ca-file", &tls->ca_file,
              "PEM certificates the other services' must be signed by; empty = plain text");
  options.Add("mesh-tls-cert-file", &tls->cert_file, "PEM certificate shown to them (mTLS)");
  options.Add("mesh-tls-key-file", &tls->key_file, "PEM private key of that certificate");
  options.Add("mesh-tls-server-name", &tls->server_name,
              "name expected in their certificates; empty = the host of the address");
}

absl::StatusOr<std::shared_ptr<grpc::ChannelInterface>> OpenChannel(const std::string& address,
                                                                    const ClientTls& tls) {
  if (address.rfind(':') == std::string::npos) {
    return base::InvalidArgument("expected host:port, got \"" + address + "\"");
  }
  ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ChannelCredentials> credentials, Credentials(tls));
  const bool replicas = address.starts_with("dns:///") || address.starts_with("ipv4:");
  return WithClientQueue(grpc::CreateCustomChannel(address, credentials, Arguments(tls, replicas)));
}

}  // namespace conclave::mesh
