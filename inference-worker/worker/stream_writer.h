// Writes to callers what backends say, on a thread of its own: gRPC takes longer for a message than
// a small model for a token, and the thread that a backend speaks on has all other sequences to
// serve.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace conclave::worker {

class GenerateStream;

// Thread-safe. Streams may outlive it only once nothing is posted any more.
class StreamWriter final {
 public:
  StreamWriter();
  // Writes what was posted, then joins.
  ~StreamWriter();

  // GenerateStream::Pump, soon. A stream waits here once at most, so there is no limit but theirs.
  void Post(std::shared_ptr<GenerateStream> stream);

 private:
  void Run(const std::stop_token& stop);

  std::mutex mutex_;
  std::condition_variable_any posted_;
  std::vector<std::shared_ptr<GenerateStream>> streams_;
  std::jthread thread_;  // last: everything above is there when it starts
};

}  // namespace conclave::worker
