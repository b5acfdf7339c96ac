// The listeners of runs. Each is told what is in run_events after its seq, then what is added,
// until the run rests. A listener costs no thread: it is worked on when a run's events were
// committed here (RunSignals) and once a second, which is how it hears of events that other
// replicas wrote.
//
// While the database is away listeners stay and hear nothing; they give up after a minute.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "conclave/v1/runs.pb.h"
#include "store/run_signals.h"
#include "store/runs.h"
#include "store/services/dispatcher.h"

namespace conclave::store {

// Thread-safe. Stop the server before destroying it.
class RunStreams final {
 public:
  struct Options {
    int streams_max = 10'000;
    std::chrono::milliseconds poll_every{1000};
    std::chrono::milliseconds poll_elsewhere{100};  // while another replica executes the run
    std::chrono::seconds outage_max{60};
  };

  RunStreams(Runs& runs, Dispatcher& dispatcher, RunSignals& signals, const Options& options);
  ~RunStreams();
  RunStreams(const RunStreams&) = delete;
  RunStreams& operator=(const RunStreams&) = delete;

  // Never null: refusals are streams that end at once.
  grpc::ServerWriteReactor<conclave::v1::RunEvent>* Open(
      grpc::CallbackServerContext* context, const conclave::v1::StreamRunRequest& request);

 private:
  class Stream;
  void Wake(const std::string& run_id);
  void Forget(Stream* stream);
  void Tick();

  Runs& runs_;
  Dispatcher& dispatcher_;
  const Options options_;
  std::mutex mutex_;
  std::condition_variable stopping_;
  bool stop_ = false;
  std::unordered_multimap<std::string, std::shared_ptr<Stream>> streams_;  // by run id
  std::jthread ticker_;
};

}  // namespace conclave::store
