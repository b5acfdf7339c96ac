// Models that come and go: loading on demand, keep-alives, the memory budget. The clock is held;
// loads end when the test says so.
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <latch>
#include <thread>

#include "base/status.h"
#include "support/held_clock.h"
#include "support/wait_until.h"
#include "worker/model_host.h"

namespace conclave::worker {
namespace {

using State = HostedModel::State;
using std::chrono::milliseconds;
using std::chrono::minutes;

// A script of so many bytes; its model takes as many.
class ScriptFile final {
 public:
  explicit ScriptFile(size_t bytes) {
    path_ = (std::filesystem::temp_directory_path() / "conclave-life-XXXXXX").string();
    const int fd = mkstemp(path_.data());
    if (fd >= 0) close(fd);
    std::ofstream(path_) << "{}" << std::string(bytes - 2, ' ');
  }
  ~ScriptFile() { std::filesystem::remove(path_); }
  ScriptFile(const ScriptFile&) = delete;
  ScriptFile& operator=(const ScriptFile&) = delete;
  LoadSpec Spec(const std::string& name) const {
    return {.name = name, .path = path_, .backend = "scripted", .aliases = {}, .trusted = true};
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Loads wait here while it is closed.
struct Door {
  void Set(bool is_open) {
    {
      const std::lock_guard lock(mutex);
      open = is_open;
    }
    changed.notify_all();
  }
  void Pass() {
    std::unique_lock lock(mutex);
    ++arrived;
    changed.notify_all();
    REQUIRE(changed.wait_for(lock, std::chrono::seconds(60), [this] { return open; }));
  }
  void WaitForArrivals(int count) {
    std::unique_lock lock(mutex);
    REQUIRE(changed.wait_for(lock, std::chrono::seconds(60), [&] { return arrived >= count; }));
  }
  int loads() {
    const std::lock_guard lock(mutex);
    return arrived;
  }
  std::mutex mutex;
  std::condition_variable changed;
  bool open = true;
  int arrived = 0;
};

struct World {
  explicit World(int64_t budget = 1'500) {
    options.memory_budget = budget;
    options.clock = &clock;
    options.keeper_period = milliseconds(5);
    options.digests = false;
    options.open = [this](std::string_view kind, const backends::BackendSpec& spec) {
      door.Pass();
      if (spec.on_progress) spec.on_progress(0.5);
      return backends::OpenBackend(kind, spec);
    };
  }
  ModelHost& host() {
    if (!host_) host_.emplace(options);
    return *host_;
  }
  State StateOf(const std::string& name) { return (*host().Find(name))->status().state; }
  void WaitFor(const std::string& name, State state) {
    uint64_t seen = host().version();
    for (int i = 0; i < 60 && StateOf(name) != state; ++i) {
      seen = host().WaitForChange(seen, milliseconds(1'000));
    }
    REQUIRE(StateOf(name) == state);
  }
  UseOptions Patient() { return {.wait_until = clock.Now() + minutes(1)}; }

  HeldClock clock;
  Door door;
  HostOptions options;

 private:
  std::optional<ModelHost> host_;
};

// What a Use was told.
struct Got {
  LeaseCallback Take() {
    return [this](absl::StatusOr<ModelLease> lease) {
      const std::lock_guard lock(mutex);
      status = lease.status();
      if (lease.ok()) held = *std::move(lease);
      ++calls;
      changed.notify_all();
    };
  }
  absl::Status Wait() {
    std::unique_lock lock(mutex);
    REQUIRE(changed.wait_for(lock, std::chrono::seconds(60), [this] { return calls > 0; }));
    CHECK(calls == 1);
    return status;
  }
  std::mutex mutex;
  std::condition_variable changed;
  int calls = 0;
  absl::Status status;
  std::optional<ModelLease> held;
};

}  // namespace

TEST_CASE("a model goes when its time is over and comes back when it is asked for") {
  const ScriptFile file(1'000);
  World world;
  world.options.keep_alive = minutes(5);
  ModelHost& host = world.host();
  REQUIRE(host.Load(file.Spec("m")).ok());
  CHECK(host.memory().used == 1'000);
  { CHECK(host.Acquire("m").ok()); }
  CHECK((*host.Find("m"))->life().expires_unix_ms == world.clock.UnixMillis() + 300'000);
  world.clock.Advance(minutes(5));
  world.WaitFor("m", State::kUnloaded);
  CHECK(host.memory().used == 0);
  CHECK((*host.Find("m"))->backend() == nullptr);
  CHECK((*host.Find("m"))->details()->memory_bytes == 1'000);
  Got got;
  host.Use("m", world.Patient(), got.Take());
  REQUIRE(got.Wait().ok());
  CHECK(got.held->model().name == "m");
  CHECK(world.StateOf("m") == State::kReady);
  CHECK(world.door.loads() == 2);
}

TEST_CASE("a request says how long the model stays after it") {
  const ScriptFile file(1'000);
  World world;
  ModelHost& host = world.host();
  REQUIRE(host.Load(file.Spec("m")).ok());
  Got got;
  UseOptions options = world.Patient();
  options.keep_alive = minutes(2);
  host.Use("m", options, got.Take());
  REQUIRE(got.Wait().ok());
  world.clock.Advance(minutes(3));
  CHECK(world.StateOf("m") == State::kReady);
  got.held.reset();
  world.clock.Advance(minutes(2));
  world.WaitFor("m", State::kUnloaded);
}

TEST_CASE("letting go unloads an idle model, and one in use once its last user has ended") {
  const ScriptFile file(1'000);
  World world;
  ModelHost& host = world.host();
  REQUIRE(host.Load(file.Spec("m")).ok());
  auto lease = host.Acquire("m");
  REQUIRE(lease.ok());
  CHECK(*host.LetGo("m", milliseconds(60'000)));
  CHECK(world.StateOf("m") == State::kReady);
  { const ModelLease gone = *std::move(lease); }
  world.WaitFor("m", State::kUnloaded);
  CHECK_FALSE(*host.LetGo("m", milliseconds(60'000)));
  Got got;
  host.Use("m", world.Patient(), got.Take());
  REQUIRE(got.Wait().ok());
  got.held.reset();
  CHECK_FALSE(*host.LetGo("m", milliseconds(60'000)));
  CHECK(world.StateOf("m") == State::kUnloaded);
  CHECK(absl::IsNotFound(host.LetGo("other", milliseconds(0)).status()));
}

TEST_CASE("one load is for all who wait, and those who do not hear how far it is") {
  const ScriptFile file(1'000);
  World world;
  ModelHost& host = world.host();
  REQUIRE(host.Load(file.Spec("m")).ok());
  REQUIRE(host.LetGo("m", milliseconds(60'000)).ok());
  const int before = world.door.loads();
  world.door.Set(false);
  Got first, second;
  host.Use("m", world.Patient(), first.Take());
  host.Use("m", world.Patient(), second.Take());
  world.door.WaitForArrivals(before + 1);
  const absl::Status now = host.Acquire("m").status();
  CHECK(base::ReasonOf(now) == "model_loading");
  CHECK(base::RetryAfterOf(now).count() > 0);
  CHECK(now.message() == "the model \"m\" is loading (0 %)");
  CHECK((*host.Find("m"))->status().on_demand);
  world.door.Set(true);
  CHECK(first.Wait().ok());
  CHECK(second.Wait().ok());
  CHECK(world.door.loads() == before + 1);
  CHECK((*host.Find("m"))->life().users == 2);
}

TEST_CASE("waiting ends at its time or when it is cancelled, and the loading goes on") {
  const ScriptFile file(1'000);
  World world;
  world.options.waiting_max = 2;
  ModelHost& host = world.host();
  REQUIRE(host.Load(file.Spec("m")).ok());
  REQUIRE(host.LetGo("m", milliseconds(60'000)).ok());
  world.door.Set(false);
  Got late, gone, refused;
  host.Use("m", world.Patient(), late.Take());
  const uint64_t use = host.Use("m", world.Patient(), gone.Take());
  CHECK(host.Use("m", world.Patient(), refused.Take()) == 0);
  CHECK(absl::IsResourceExhausted(refused.Wait()));
  host.CancelUse(use);
  CHECK(absl::IsCancelled(gone.Wait()));
  host.CancelUse(use);
  world.clock.Advance(minutes(1));
  CHECK(base::ReasonOf(late.Wait()) == "model_loading");
  world.door.Set(true);
  world.WaitFor("m", State::kReady);
}

TEST_CASE("two models that fit one at a time make room for each other") {
  const ScriptFile a(1'000), b(900);
  World world;
  ModelHost& host = world.host();
  REQUIRE(host.Load(a.Spec("a")).ok());
  REQUIRE(host.Load(b.Spec("b")).ok());
  // Nobody has asked for it, so nobody goes for it.
  CHECK(world.StateOf("a") == State::kReady);
  CHECK(world.StateOf("b") == State::kUnloaded);
  for (int i = 0; i < 3; ++i) {
    Got got_b;
    host.Use("b", world.Patient(), got_b.Take());
    REQUIRE(got_b.Wait().ok());
    CHECK(world.StateOf("a") == State::kUnloaded);
    CHECK(host.memory().used == 900);
    got_b.held.reset();
    Got got_a;
    host.Use("a", world.Patient(), got_a.Take());
    REQUIRE(got_a.Wait().ok());
    CHECK(world.StateOf("b") == State::kUnloaded);
    CHECK(host.memory().used == 1'000);
  }
}

TEST_CASE("a model in use, or pinned, does not go for another") {
  const ScriptFile a(1'000), b(900);
  World world;
  SECTION("in use") {
    ModelHost& host = world.host();
    REQUIRE(host.Load(a.Spec("a")).ok());
    REQUIRE(host.Load(b.Spec("b")).ok());
    const auto lease = host.Acquire("a");
    REQUIRE(lease.ok());
    const absl::Status refused = host.Acquire("b").status();
    CHECK(base::ReasonOf(refused) == "memory_in_use");
    CHECK(refused.message().find("needs 900 bytes; 500 of 1500") != absl::string_view::npos);
    CHECK(world.StateOf("b") == State::kUnloaded);
  }
  SECTION("pinned") {
    world.options.pinned = {"a"};
    ModelHost& host = world.host();
    REQUIRE(host.Load(a.Spec("a")).ok());
    CHECK(base::ReasonOf(host.Load(b.Spec("b"))) == "model_too_large");
    CHECK(base::ReasonOf(host.Acquire("b").status()) == "model_too_large");
    CHECK(base::ReasonOf(host.LetGo("a", milliseconds(0)).status()) == "model_pinned");
  }
}

TEST_CASE("a model that is larger than the budget is refused with both figures") {
  const ScriptFile file(2'000);
  World world;
  const absl::Status refused = world.host().Load(file.Spec("m"));
  CHECK(absl::IsFailedPrecondition(refused));
  CHECK(refused.message() == "the model needs 2000 bytes; this worker has 1500 for models");
}

TEST_CASE("without preloading a model is known by its header until it is asked for") {
  const ScriptFile file(1'000);
  World world;
  world.options.preload = false;
  ModelHost& host = world.host();
  REQUIRE(host.Load(file.Spec("m")).ok());
  CHECK(world.StateOf("m") == State::kUnloaded);
  CHECK(world.door.loads() == 0);
  CHECK((*host.Find("m"))->details()->context_length == 32'768);
  CHECK_FALSE((*host.Find("m"))->status().revision.empty());
  Got got;
  host.Use("m", world.Patient(), got.Take());
  CHECK(got.Wait().ok());
}

// A loader's thread may hold a lease or a model until it has ended; whoever starts another one
// joins those that have ended, under the host's lock.
TEST_CASE("models that begin, settle and go at the same time do not wait for each other") {
  const ScriptFile file(100);
  World world(1'000'000);
  world.options.models_max = 256;
  ModelHost& host = world.host();
  REQUIRE(host.Load(file.Spec("base")).ok());
  constexpr int kThreads = 4, kRounds = 25;
  std::atomic<int> served{0};
  {
    std::vector<std::jthread> callers;
    for (int t = 0; t < kThreads; ++t) {
      callers.emplace_back([&, t] {
        for (int i = 0; i < kRounds; ++i) {
          const std::string name = "m" + std::to_string(t) + "-" + std::to_string(i);
          LoadSpec spec = file.Spec(name);
          if (i % 2 == 1) {
            spec.path.clear();
            spec.backend.clear();
            spec.derived.emplace();
            spec.derived->base = "base";
          }
          if (!host.StartLoading(spec).ok()) continue;
          Got got;
          host.Use(name, world.Patient(), got.Take());
          if (got.Wait().ok()) ++served;
          got.held.reset();
          if (!host.Unload(name).ok()) --served;
        }
      });
    }
  }
  CHECK(served == kThreads * kRounds);
  CHECK(host.List().size() == 1);
}

TEST_CASE("derived models come and go with their base") {
  const ScriptFile file(1'000);
  World world;
  ModelHost& host = world.host();
  REQUIRE(host.Load(file.Spec("base")).ok());
  LoadSpec spec;
  spec.name = "pirate";
  spec.derived = DerivedSpec{.base = "base", .license = "MIT"};
  REQUIRE(host.Load(spec).ok());
  CHECK(world.StateOf("pirate") == State::kReady);
  auto lease = host.Acquire("pirate");
  REQUIRE(lease.ok());
  // The thread that derived it may have its hold for a moment longer.
  CHECK(support::WaitUntil([&] { return (*host.Find("base"))->life().users == 1; }));
  CHECK(*host.LetGo("pirate", milliseconds(60'000)));
  { const ModelLease gone = *std::move(lease); }
  world.WaitFor("base", State::kUnloaded);
  CHECK(world.StateOf("pirate") == State::kUnloaded);
  CHECK(host.memory().used == 0);
  LoadSpec later = spec;
  later.name = "parrot";
  REQUIRE(host.Load(later).ok());
  CHECK(world.StateOf("parrot") == State::kUnloaded);
  CHECK((*host.Find("parrot"))->details()->license == "MIT");
  Got got;
  host.Use("parrot", world.Patient(), got.Take());
  REQUIRE(got.Wait().ok());
  world.WaitFor("pirate", State::kReady);
  CHECK(world.StateOf("base") == State::kReady);
}

TEST_CASE("a model whose file has gone cannot be loaded again, and says so to all who wait") {
  World world;
  std::optional<ScriptFile> file(std::in_place, 1'000);
  ModelHost& host = world.host();
  REQUIRE(host.Load(file->Spec("m")).ok());
  REQUIRE(host.LetGo("m", milliseconds(60'000)).ok());
  file.reset();
  Got got;
  host.Use("m", world.Patient(), got.Take());
  CHECK(base::ReasonOf(got.Wait()) == "model_failed");
  CHECK(world.StateOf("m") == State::kFailed);
  CHECK(host.memory().used == 0);
}

TEST_CASE("closing tells all who wait, and waits for nobody who uses nothing") {
  const ScriptFile file(1'000);
  World world;
  ModelHost& host = world.host();
  REQUIRE(host.Load(file.Spec("m")).ok());
  REQUIRE(host.LetGo("m", milliseconds(60'000)).ok());
  world.door.Set(false);
  Got got;
  host.Use("m", world.Patient(), got.Take());
  std::jthread closing([&] { host.Close(milliseconds(0)); });
  CHECK(absl::IsUnavailable(got.Wait()));
  world.door.Set(true);
}

}  // namespace conclave::worker
