// The store of one process, put together: database, aggregates, services. main() owns one; so does
// every test that wants the real thing without a process.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "base/metrics.h"
#include "base/status.h"
#include "mesh/server.h"
#include "store/options.h"

namespace conclave::store {

class Store final {
 public:
  // Connects, migrates and builds; does not listen yet. UNAVAILABLE when the database does not
  // answer within `database_wait`, or `give_up` (may be empty) says true before it does.
  static absl::StatusOr<std::unique_ptr<Store>> Open(const StoreOptions& options,
                                                     std::chrono::milliseconds database_wait,
                                                     const std::function<bool()>& give_up = {});
  ~Store();  // stops
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  absl::Status Start();
  int port() const;
  base::Metrics& metrics();
  // Empty when ready; else why not. Does not block.
  std::string NotReadyReason() const;

  void SetNotReady();
  void Drain(base::SteadyTime deadline);
  void Stop();

 private:
  struct Impl;
  explicit Store(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace conclave::store
