#include "gateway/app.h"

#include <algorithm>
#include <atomic>
#include <list>
#include <optional>
#include <thread>
#include <utility>

#include "base/log.h"
#include "base/metrics.h"
#include "gateway/dialects/dialect.h"
#include "gateway/http/front_door.h"
#include "gateway/upstream/readiness.h"
#include "mesh/probe_server.h"

namespace conclave::gateway {
namespace {

constexpr int kIoThreadsMax = 16;

int IoThreads(int wanted) {
  if (wanted > 0) return wanted;
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, kIoThreadsMax);
}

struct CompatListener {
  CompatProfile profile = CompatProfile::kStrict;
  std::string address;
};

absl::StatusOr<CompatListener> ParseCompatListener(const std::string& text) {
  const size_t equals = text.find('=');
  const auto profile = FindCompatProfile(std::string_view(text).substr(0, equals));
  if (equals == std::string::npos || !profile) {
    return base::InvalidArgument("compat-listen: \"" + text +
                                 "\" is not a profile, =, and host:port");
  }
  return CompatListener{*profile, text.substr(equals + 1)};
}

absl::Status CheckAddress(std::string_view option, const std::string& address, bool keys) {
  ASSIGN_OR_RETURN(const HostPort where, ParseHostPort(address));
  if (keys || IsLoopback(where.host)) return absl::OkStatus();
  return base::InvalidArgument(
      std::string(option) + ": " + address +
      " is reachable from outside; give --api-keys or --api-keys-file, or listen on 127.0.0.1");
}

}  // namespace

absl::Status GatewayOptions::Validate() const {
  const bool keys = !filters.api_keys.empty() || !filters.profile_keys.empty();
  RETURN_IF_ERROR(CheckAddress("listen", listen, keys));
  for (const std::string& text : compat_listen) {
    ASSIGN_OR_RETURN(const CompatListener listener, ParseCompatListener(text));
    RETURN_IF_ERROR(CheckAddress("compat-listen", listener.address, keys));
  }
  if (upstream.inference_workers.empty()) {
    return base::InvalidArgument("inference-workers: at least one is needed");
  }
  return Filters::Make(filters).status();
}

void AddGatewayOptions(base::OptionSet& set, GatewayOptions* o) {
  using std::chrono::milliseconds;
  set.Add("listen", &o->listen, "address of the HTTP listener, host:port");
  set.AddChoice("compat-profile", &o->compat_profile,
                {"strict", "kt-legacy", "ls-seed", "llm-serving"},
                "whose quirks the listener has (docs/compat-profiles.md)");
  set.Add("compat-listen", &o->compat_listen,
          "further listeners with quirks, profile=host:port each");
  set.AddSecretList("compat-keys", &o->filters.profile_keys,
                    "further API keys whose requests get a profile, profile=key each");
  set.Add("probe-listen", &o->probe_listen, "address for /livez, /readyz, /metrics without a key");
  set.Add("io-threads", &o->io_threads, "threads for connections; 0 = one for each core", 0, 256);
  set.Add("inference-workers", &o->upstream.inference_workers, "addresses or headless names");
  set.Add("embedding-workers", &o->upstream.embedding_workers, "addresses or headless names");
  set.Add("store", &o->upstream.store, "address of assistant-store; empty = no stateful surfaces");
  mesh::AddClientTlsOptions(set, &o->upstream.tls);
  set.AddSecretList("api-keys", &o->filters.api_keys,
                    "keys that clients must show, plain or sha256:<hex>; none = no key is asked");
  set.AddSecretList("admin-keys", &o->filters.admin_keys,
                    "keys for registering and removing models, written as api-keys; none = off");
  set.Add("admin-open", &o->filters.admin_open,
          "let everybody register and remove models who may call at all");
  set.Add("allowed-hosts", &o->filters.allowed_hosts,
          "Host names besides localhost and IP literals; *.name for all below, * for any");
  set.Add("allowed-origins", &o->filters.allowed_origins,
          "origins of web pages that may call (CORS); * for any");
  set.Add("in-flight-max", &o->admission.in_flight_max, "requests at once, per model", 1, 100'000);
  set.Add("queue-max", &o->admission.queue_max, "requests waiting for a place, per model", 0,
          100'000);
  set.Add("queue-ttl", &o->admission.queue_ttl, "longest wait for a place");
  set.Add("connections-max", &o->limits.connections_max,
          "open at once on all listeners; each takes a file of the process", 1, 1'000'000);
  set.Add("head-timeout", &o->limits.head_timeout, "for a whole request head", milliseconds(10));
  set.Add("idle-timeout", &o->limits.idle_timeout, "of a connection between requests",
          milliseconds(10));
  set.Add("body-window", &o->limits.body_window, "a body must bring 10 KB in each of these",
          milliseconds(10));
  set.Add("write-stall", &o->limits.write_stall,
          "a client that takes nothing is cut off after this", milliseconds(10));
  set.Add("keep-alive", &o->times.keep_alive, "longest silence of a stream", milliseconds(10));
  set.Add("stream-idle-timeout", &o->times.stream_idle,
          "longest wait for the next piece of a streamed answer; 0 = no limit");
  set.Add(
      "load-wait", &o->times.load_wait,
      "for a model to be loaded before a request gets 503; 0 = not at all. Ollama's routes wait "
      "as long as generate-timeout, unless it is 0");
  set.Add("generate-timeout", &o->times.generate, "for one whole answer", milliseconds(1));
  set.Add("store-timeout", &o->times.store, "for one call to the store", milliseconds(1));
  set.Add("default-system-prompt", &o->default_system_prompt,
          "for conversations that bring no system message");
  set.Add("default-model", &o->default_model,
          "stands for unknown names in the profiles llm-serving and kt-legacy; empty = the first");
  set.Add("drain", &o->drain, "for running requests after SIGTERM");
  set.Add("drain-settle", &o->drain_settle, "not ready, but still accepting, before the drain");
  set.AddChoice("log-level", &o->log_level, {"debug", "info", "warning", "error"},
                "lines below go");
  set.AddCheck([o] { return o->Validate(); });
}

// In the order of need, so that what is used is destroyed after its user.
struct App::Impl {
  explicit Impl(const GatewayOptions& o)
      : options(o),
        admission(o.admission, &metrics),
        front_metrics(&metrics),
        loops(IoThreads(o.io_threads), "io") {}

  const GatewayOptions options;
  base::Metrics metrics;
  Admission admission;
  FrontMetrics front_metrics;
  std::atomic<bool> draining{false};
  std::unique_ptr<Clients> clients;
  Services services;
  Router router;
  std::optional<Filters> filters;
  std::list<FrontDoor> doors;  // the listener's, then one for each of compat_listen
  base::EventLoops loops;
  std::optional<HttpServer> server;
  std::unique_ptr<mesh::ProbeServer> probes;

  void Wire();
  absl::Status Listen();
  absl::Status StartProbes();
};

void App::Impl::Wire() {
  services.inference = &clients->inference();
  services.embedding = clients->embedding();
  services.store = clients->store();
  services.models = &clients->models();
  services.workers = &clients->workers();
  services.files = &clients->files();
  services.admission = &admission;
  services.metrics = &front_metrics;
  services.times = options.times;
  services.completion_wanted = !options.upstream.inference_workers.empty();
  services.default_system_prompt = options.default_system_prompt;
  services.default_model = options.default_model;
  services.commit = CONCLAVE_COMMIT;
  services.metrics_text = [this] { return metrics.Text(); };
  services.draining = [this] { return draining.load(); };
  for (const Dialect& dialect : AllDialects()) dialect.add_routes(router, services);
  doors.emplace_back(&router, &*filters, &front_metrics, base::NewId,
                     FindCompatProfile(options.compat_profile).value_or(CompatProfile::kStrict));
  server.emplace(&doors.front(), options.limits, &loops);
  const base::Gauge connections =
      metrics.AddGauge("conclave_http_connections", "Open connections.");
  metrics.OnCollect(
      [this, connections] { connections.Set(static_cast<double>(server->num_connections())); });
}

absl::Status App::Impl::Listen() {
  RETURN_IF_ERROR(server->Start(options.listen));
  for (const std::string& text : options.compat_listen) {
    ASSIGN_OR_RETURN(const CompatListener listener, ParseCompatListener(text));
    doors.emplace_back(&router, &*filters, &front_metrics, base::NewId, listener.profile);
    ASSIGN_OR_RETURN(const uint16_t port, server->AlsoListen(listener.address, &doors.back()));
    base::LogInfo("gateway is listening", {{"listen", listener.address},
                                           {"port", port},
                                           {"profile", CompatProfileName(listener.profile)}});
  }
  return absl::OkStatus();
}

absl::Status App::Impl::StartProbes() {
  if (options.probe_listen.empty()) return absl::OkStatus();
  mesh::ProbeHandlers handlers;
  handlers.ready = [this] { return std::string(ReadinessOf(services).why()); };
  handlers.metrics = [this] { return metrics.Text(); };
  ASSIGN_OR_RETURN(probes, mesh::ProbeServer::Start(options.probe_listen, std::move(handlers)));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<App>> App::Start(const GatewayOptions& options) {
  RETURN_IF_ERROR(options.Validate());
  auto impl = std::make_unique<Impl>(options);
  ASSIGN_OR_RETURN(Filters filters, Filters::Make(options.filters));
  impl->filters = std::move(filters);
  ASSIGN_OR_RETURN(impl->clients, Clients::Open(options.upstream, &impl->metrics));
  impl->Wire();
  RETURN_IF_ERROR(impl->Listen());
  RETURN_IF_ERROR(impl->StartProbes());
  base::LogInfo("gateway is listening", {{"listen", options.listen},
                                         {"port", impl->server->port()},
                                         {"routes", impl->router.routes().size()},
                                         {"keys", impl->filters->asks_for_keys()}});
  return std::unique_ptr<App>(new App(std::move(impl)));
}

App::App(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
App::~App() { Stop(); }

uint16_t App::port() const { return impl_->server->port(); }

void App::SetDraining() { impl_->draining = true; }

void App::Drain(base::SteadyTime deadline) {
  impl_->draining = true;
  const bool clean = impl_->server->Drain(deadline);
  base::LogInfo("gateway drained", {{"clean", clean}});
}

void App::Stop() {
  impl_->probes.reset();
  impl_->server->Stop();
  impl_->clients->Stop();
  impl_->loops.Stop();
}

}  // namespace conclave::gateway
