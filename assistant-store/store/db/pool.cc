#include "store/db/pool.h"

#include <algorithm>
#include <utility>

#include "base/status.h"

namespace conclave::store {
namespace {

constexpr std::chrono::milliseconds kTrustedFor{500};
constexpr std::chrono::milliseconds kAnswerWithin{400};

}  // namespace

Pool::Lease::Lease(Lease&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)),
      connection_(std::move(other.connection_)),
      generation_(other.generation_) {}

Pool::Lease::~Lease() {
  if (pool_ != nullptr) pool_->Return(std::move(connection_), generation_);
}

Pool::Pool(Options options) : options_(std::move(options)) {}

std::unique_ptr<Connection> Pool::PopIdle(base::SteadyTime deadline) {
  while (true) {
    Idle idle;
    {
      const std::lock_guard lock(mutex_);
      if (idle_.empty()) return nullptr;
      idle = std::move(idle_.back());
      idle_.pop_back();
      if (idle.generation != generation_ || idle.connection->broken()) continue;
    }
    const base::SteadyTime now = std::chrono::steady_clock::now();
    if (now - idle.since < kTrustedFor) return std::move(idle.connection);
    if (idle.connection->Execute("SELECT 1", {}, std::min(deadline, now + kAnswerWithin)).ok()) {
      return std::move(idle.connection);
    }
    const std::lock_guard lock(mutex_);
    if (idle.generation == generation_) ++generation_;
  }
}

absl::StatusOr<Pool::Lease> Pool::Take(base::SteadyTime deadline) {
  {
    std::unique_lock lock(mutex_);
    if (!freed_.wait_until(lock, deadline, [&] { return lent_ < options_.size; })) {
      return base::Unavailable("database: all connections are busy");
    }
    ++lent_;
  }
  std::unique_ptr<Connection> connection = PopIdle(deadline);
  uint64_t generation = 0;
  {
    const std::lock_guard lock(mutex_);
    generation = generation_;
  }
  if (connection == nullptr) {
    absl::StatusOr<std::unique_ptr<Connection>> opened = Open(deadline);
    if (!opened.ok()) {
      Return(nullptr, generation);
      return std::move(opened).status();
    }
    connection = *std::move(opened);
  }
  return Lease(this, std::move(connection), generation);
}

absl::StatusOr<std::unique_ptr<Connection>> Pool::Open(base::SteadyTime deadline) {
  {
    const std::lock_guard lock(mutex_);
    if (!away_.ok()) {
      if (trying_) return away_;
      trying_ = true;
    }
  }
  absl::StatusOr<std::unique_ptr<Connection>> opened =
      Connection::Open(options_.conninfo, deadline);
  const std::lock_guard lock(mutex_);
  away_ = opened.status();
  trying_ = false;
  return opened;
}

void Pool::Return(std::unique_ptr<Connection> connection, uint64_t generation) {
  // A connection that left a transaction open is not worth the round trip of asking why.
  const bool lost = connection != nullptr && connection->broken();
  const bool reusable = connection != nullptr && !lost && !connection->in_transaction();
  {
    const std::lock_guard lock(mutex_);
    --lent_;
    if (lost && generation == generation_) ++generation_;
    if (reusable && generation == generation_) {
      idle_.push_back({std::move(connection), generation, std::chrono::steady_clock::now()});
    }
  }
  freed_.notify_one();
}  // closing a connection happens here, outside the lock

}  // namespace conclave::store
