// The gateway in one piece: options, wiring, start, drain, stop.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/options.h"
#include "base/status.h"
#include "gateway/http/admission.h"
#include "gateway/http/filters.h"
#include "gateway/http/http_server.h"
#include "gateway/upstream/clients.h"

namespace conclave::gateway {

struct GatewayOptions {
  std::string listen = "127.0.0.1:8080";
  std::string probe_listen;                // empty = no probe port of its own
  std::string compat_profile = "strict";   // of `listen`
  std::vector<std::string> compat_listen;  // further addresses, "<profile>=<host:port>"
  int io_threads = 0;                      // 0 = one for each core, at most 16
  UpstreamOptions upstream;
  FilterOptions filters;
  AdmissionOptions admission;
  HttpLimits limits;
  ServiceTimes times;
  std::string default_system_prompt;
  std::string default_model;
  std::string log_level = "info";
  std::chrono::milliseconds drain{60'000};
  std::chrono::milliseconds drain_settle{0};

  // INVALID_ARGUMENT: no address, or one that is not loopback without API keys.
  absl::Status Validate() const;
};

void AddGatewayOptions(base::OptionSet& set, GatewayOptions* options);

class App final {
 public:
  // Opens the upstream and listens. Waits for no worker.
  static absl::StatusOr<std::unique_ptr<App>> Start(const GatewayOptions& options);
  ~App();
  App(const App&) = delete;
  App& operator=(const App&) = delete;

  uint16_t port() const;

  // /readyz says 503 from now on; requests are still served.
  void SetDraining();
  // No new connections; returns when the running requests have ended, or at the deadline.
  void Drain(base::SteadyTime deadline);
  void Stop();

 private:
  struct Impl;
  explicit App(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace conclave::gateway
