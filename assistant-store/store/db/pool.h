// The connections of this process, at most `size`. A thread leases one for the length of one
// transaction. Connections are opened when first needed and again after they were lost; one lost
// connection makes the idle ones suspect, and they are dropped before they are lent again. One that
// has not been used for a while is asked whether it is still there, so a server that vanished
// without a word costs a moment and not a statement's whole deadline.
//
// Thread-safe. Outlives its leases.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "store/db/connection.h"

namespace conclave::store {

class Pool final {
 public:
  struct Options {
    std::string conninfo;  // "host=… dbname=…" or a postgresql:// URI
    int size = 8;          // 1..256
  };

  class Lease final {
   public:
    Lease(Lease&& other) noexcept;
    Lease& operator=(Lease&&) = delete;
    ~Lease();
    Connection& operator*() const { return *connection_; }
    Connection* operator->() const { return connection_.get(); }

   private:
    friend class Pool;
    Lease(Pool* pool, std::unique_ptr<Connection> connection, uint64_t generation)
        : pool_(pool), connection_(std::move(connection)), generation_(generation) {}
    Pool* pool_;
    std::unique_ptr<Connection> connection_;
    uint64_t generation_;
  };

  explicit Pool(Options options);

  // UNAVAILABLE when none becomes free, or the server does not answer, before the deadline.
  absl::StatusOr<Lease> Take(base::SteadyTime deadline);

  int size() const { return options_.size; }

 private:
  struct Idle {
    std::unique_ptr<Connection> connection;
    uint64_t generation;
    base::SteadyTime since;
  };
  // An idle connection that answers, or null when there is none.
  std::unique_ptr<Connection> PopIdle(base::SteadyTime deadline);
  // Opens one. While the server is away one thread at a time tries, the others are refused at once:
  // callers must not queue up behind each other's deadlines.
  absl::StatusOr<std::unique_ptr<Connection>> Open(base::SteadyTime deadline);
  void Return(std::unique_ptr<Connection> connection, uint64_t generation);

  const Options options_;
  std::mutex mutex_;
  std::condition_variable freed_;
  std::vector<Idle> idle_;  // a stack: what was used last has its statements warm
  int lent_ = 0;
  uint64_t generation_ = 0;  // counts losses: older idle connections are dropped
  absl::Status away_;        // why the last attempt to connect failed; OK = it did not
  bool trying_ = false;      // a thread is finding out whether the server is back
};

}  // namespace conclave::store
