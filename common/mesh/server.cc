#include "mesh/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/impl/server_builder_option.h>
#include <grpcpp/impl/server_builder_plugin.h>
#include <grpcpp/impl/server_initializer.h>

#include <atomic>
#include <fstream>
#include <iterator>
#include <mutex>

#include "base/check.h"
#include "base/log.h"

namespace conclave::mesh {
namespace {

// Work has been drained; what is left are listeners (Watch, StreamRun), who are cancelled after
// this.
constexpr std::chrono::milliseconds kStopGrace{100};

// gRPC keeps the names of the registered services to itself, except towards plugins.
class ServiceNames final : public grpc::ServerBuilderPlugin {
 public:
  explicit ServiceNames(std::vector<std::string>* names) : names_(names) {}
  std::string name() override { return "conclave-service-names"; }
  void InitServer(grpc::ServerInitializer*) override {}
  void Finish(grpc::ServerInitializer* initializer) override {
    *names_ = *initializer->GetServiceList();
  }
  void ChangeArguments(const std::string&, void*) override {}

 private:
  std::vector<std::string>* names_;
};

class ServiceNamesOption final : public grpc::ServerBuilderOption {
 public:
  explicit ServiceNamesOption(std::vector<std::string>* names) : names_(names) {}
  void UpdateArguments(grpc::ChannelArguments*) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    plugins->push_back(std::make_unique<ServiceNames>(names_));
  }

 private:
  std::vector<std::string>* names_;
};

absl::StatusOr<std::string> ReadPem(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return base::InvalidArgument("cannot read " + path);
  std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (text.find("-----BEGIN") == std::string::npos) {
    return base::InvalidArgument(path + " is not a PEM file");
  }
  return text;
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> Credentials(const ServerOptions& o) {
  if (o.tls_cert_file.empty()) return grpc::InsecureServerCredentials();
  grpc::SslServerCredentialsOptions tls(
      o.tls_client_ca_file.empty() ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                                   : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  grpc::SslServerCredentialsOptions::PemKeyCertPair pair;
  ASSIGN_OR_RETURN(pair.cert_chain, ReadPem(o.tls_cert_file));
  ASSIGN_OR_RETURN(pair.private_key, ReadPem(o.tls_key_file));
  tls.pem_key_cert_pairs.push_back(std::move(pair));
  if (!o.tls_client_ca_file.empty()) {
    ASSIGN_OR_RETURN(tls.pem_root_certs, ReadPem(o.tls_client_ca_file));
  }
  return grpc::SslServerCredentials(tls);
}

// Why each value: docs of channel.h for the client's half.
void SetArguments(const ServerOptions& o, grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(static_cast<int>(o.message_bytes_max));
  builder->SetMaxSendMessageSize(static_cast<int>(o.message_bytes_max));
  const auto set = [&](const char* name, int64_t value) {
    builder->AddChannelArgument(name, static_cast<int>(value));
  };
  set(GRPC_ARG_MAX_CONCURRENT_STREAMS, o.streams_max);
  // A second process on the same port is an error, not a secret partner.
  set(GRPC_ARG_ALLOW_REUSEPORT, 0);
  // Bounded writes: without the bandwidth probe a stream's window stays at 64 KB, so a reader that
  // stops reading stops the writer after a few hundred tokens instead of megabytes.
  set(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  set(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 16 << 10);
  // Our clients ping every 10 s, also in silence; the default would end the connection with
  // ENHANCE_YOUR_CALM and cancel every call on it.
  set(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 5'000);
  set(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  // A client whose machine vanished is noticed without its help.
  set(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  set(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  set(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  if (o.connection_age_max.count() > 0) {
    set(GRPC_ARG_MAX_CONNECTION_AGE_MS, o.connection_age_max.count());
    set(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, o.connection_age_grace.count());
  }
}

// Process-wide switches of gRPC that must be thrown before the first server is built.
void EnablePlugins() {
  static std::once_flag once;
  std::call_once(once, [] {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
}

}  // namespace

absl::Status ServerOptions::Validate() const {
  if (tls_cert_file.empty() != tls_key_file.empty()) {
    return base::InvalidArgument("tls-cert-file and tls-key-file: give both or none");
  }
  if (tls_cert_file.empty() && !tls_client_ca_file.empty()) {
    return base::InvalidArgument("tls-client-ca-file: needs tls-cert-file");
  }
  if (listen.rfind(':') == std::string::npos) {
    return base::InvalidArgument("listen: expected host:port, got \"" + listen + "\"");
  }
  return absl::OkStatus();
}

void AddServerOptions(base::OptionSet& options, ServerOptions* o) {
  options.Add("listen", &o->listen, "address of the gRPC listener, host:port");
  options.Add("tls-cert-file", &o->tls_cert_file, "PEM certificate chain; empty = plain text");
  options.Add("tls-key-file", &o->tls_key_file, "PEM private key of the certificate");
  options.Add("tls-client-ca-file", &o->tls_client_ca_file,
              "PEM certificates that must have signed the clients' (mTLS)");
  options.AddBytes("message-bytes-max", &o->message_bytes_max, "largest message, each way", 1 << 16,
                   int64_t{1} << 30);
  options.Add("streams-max", &o->streams_max, "concurrent calls of one connection", 1, 1'000'000);
  options.Add("connection-age-max", &o->connection_age_max,
              "renew a client's connection after this long; 0 = never",
              std::chrono::milliseconds(0), std::chrono::hours(240));
  options.Add("connection-age-grace", &o->connection_age_grace,
              "what its calls may still take then", std::chrono::milliseconds(0),
              std::chrono::hours(240));
  options.AddCheck([o] { return o->Validate(); });
}

struct Server::Impl {
  explicit Impl(ServerOptions o) : options(std::move(o)) {}

  const ServerOptions options;
  base::Gate gate;
  std::vector<grpc::Service*> services;
  std::unique_ptr<grpc::Server> server;
  std::vector<std::string> service_names;
  int port = 0;
  std::atomic<bool> ready{false};
  std::mutex stop_mutex;

  void SetServing(const std::string& name, bool serving) {
    grpc::HealthCheckServiceInterface* health = server->GetHealthCheckService();
    if (health != nullptr) health->SetServingStatus(name, serving);
  }
};

Server::Server(ServerOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}

Server::~Server() { Stop(); }

base::Gate& Server::gate() { return impl_->gate; }

void Server::AddService(grpc::Service* service) {
  CHECK(impl_->server == nullptr);
  impl_->services.push_back(service);
}

absl::Status Server::Start() {
  RETURN_IF_ERROR(impl_->options.Validate());
  EnablePlugins();
  ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ServerCredentials> credentials,
                   Credentials(impl_->options));
  grpc::ServerBuilder builder;
  SetArguments(impl_->options, &builder);
  builder.SetOption(std::make_unique<ServiceNamesOption>(&impl_->service_names));
  builder.AddListeningPort(impl_->options.listen, credentials, &impl_->port);
  for (grpc::Service* service : impl_->services) builder.RegisterService(service);
  impl_->server = builder.BuildAndStart();
  if (impl_->server == nullptr || impl_->port == 0) {
    return base::Unavailable("cannot listen on " + impl_->options.listen);
  }
  impl_->SetServing("liveness", true);
  SetReady(false);
  base::LogInfo("listening", {{"address", impl_->options.listen}, {"port", impl_->port}});
  return absl::OkStatus();
}

int Server::port() const { return impl_->port; }

void Server::SetReady(bool ready) {
  impl_->ready.store(ready);
  impl_->SetServing("", ready);
  impl_->SetServing("readiness", ready);
  for (const std::string& name : impl_->service_names) impl_->SetServing(name, ready);
}

bool Server::ready() const { return impl_->ready.load(); }

bool Server::Drain(base::SteadyTime deadline) {
  if (impl_->server != nullptr) SetReady(false);
  impl_->gate.Close();
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
      deadline - std::chrono::steady_clock::now());
  const bool empty = impl_->gate.WaitUntilEmpty(std::max(left, std::chrono::milliseconds(0)));
  if (!empty) base::LogWarning("calls left when draining ended", {{"calls", impl_->gate.inside()}});
  return empty;
}

void Server::Stop() {
  const std::lock_guard lock(impl_->stop_mutex);
  if (impl_->server == nullptr) return;
  impl_->ready.store(false);
  impl_->gate.Close();
  impl_->server->Shutdown(std::chrono::system_clock::now() + kStopGrace);
  impl_->server.reset();
}

absl::Status DrainingError() {
  return base::WithReason(base::Unavailable("this server is draining; try another"), "draining");
}

}  // namespace conclave::mesh
