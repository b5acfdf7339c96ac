// Feeds every Worker.Watch stream of a process: a snapshot at once, then one on every change (at
// most every 50 ms), and at least every 500 ms. Inference and embedding workers share it.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "conclave/v1/models.pb.h"

namespace conclave::mesh {

struct WatchOptions {
  std::chrono::milliseconds period{50};
  std::chrono::milliseconds silence_max{500};
  size_t watchers_max = 1'024;
};

// Thread-safe. Destroy it after the server has stopped.
class WatchHub final {
 public:
  // `fill` writes the state without its seq; it is called once per period while anyone watches.
  using Fill = std::function<void(conclave::v1::WorkerState*)>;
  explicit WatchHub(Fill fill, const WatchOptions& options = {});
  ~WatchHub();
  WatchHub(const WatchHub&) = delete;
  WatchHub& operator=(const WatchHub&) = delete;

  // The reactor of one Watch call. It ends when the caller goes or the server stops.
  grpc::ServerWriteReactor<conclave::v1::WorkerState>* Watch(grpc::CallbackServerContext* context);

 private:
  class Watcher;
  void Run(const std::stop_token& stop);
  std::vector<std::shared_ptr<Watcher>> Alive();

  const Fill fill_;
  const WatchOptions options_;
  std::mutex mutex_;
  std::vector<std::weak_ptr<Watcher>> watchers_;
  std::jthread thread_;
};

}  // namespace conclave::mesh
