// Registered models from the row to the workers and back: PostgreSQL behind, scripted workers in
// front, the real registrar between.
#include "store/jobs/registrar.h"

#include <catch2/catch.hpp>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "support/scripted_worker.h"
#include "support/test_database.h"
#include "support/wait_until.h"

namespace pb = conclave::v1;
namespace fs = std::filesystem;
using namespace conclave::tests;
using conclave::mesh::Discovery;
using conclave::store::Registrar;
using conclave::store::RegistrarOptions;
using conclave::store::Registrations;
using conclave::support::WaitUntil;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

// One replica of the store, as far as models go.
struct Replica {
  Replica(TestDatabase& db, const std::vector<std::string>& addresses, const std::string& name)
      : registrations(db.database()),
        workers(addresses.empty() ? nullptr : *Discovery::Start({.targets = addresses})),
        registrar(registrations, db.database(), workers.get(),
                  {.owner = name,
                   .lease = milliseconds(1'000),
                   .poll_every = milliseconds(20),
                   .retry_first = milliseconds(20),
                   .collect_every = milliseconds(20)}) {
    if (workers == nullptr) return;
    REQUIRE(workers->WaitFor(
        [&](const auto& fleet) { return fleet.num_usable() == static_cast<int>(addresses.size()); },
        seconds(10)));
    registrar.Start();
  }

  absl::Status Register(const pb::ModelRegistration& registration, bool replace = false) {
    pb::RegisterModelRequest request;
    *request.mutable_registration() = registration;
    request.set_replace(replace);
    return registrar.Register(request).status();
  }
  absl::Status Unregister(const std::string& name) {
    pb::UnregisterModelRequest request;
    request.set_name(name);
    return registrar.Unregister(request).status();
  }
  std::vector<std::string> Names() {
    std::vector<std::string> names;
    const auto listed = registrations.List({});
    REQUIRE(listed.ok());
    for (const auto& one : listed->registrations()) names.push_back(one.name());
    return names;
  }

  Registrations registrations;
  std::unique_ptr<Discovery> workers;
  Registrar registrar;
};

pb::ModelRegistration Derived(const std::string& name, const std::string& base,
                              const std::string& system = "") {
  pb::ModelRegistration registration;
  registration.set_name(name);
  registration.mutable_derived()->set_base(base);
  if (!system.empty()) registration.mutable_derived()->set_system(system);
  return registration;
}

std::shared_ptr<const conclave::worker::HostedModel> Hosted(ScriptedWorker& worker,
                                                            const std::string& name) {
  for (const auto& model : worker.worker().host().List()) {
    if (model->name == name) return model;
  }
  return nullptr;
}

bool Serves(ScriptedWorker& worker, const std::string& name) {
  const auto model = Hosted(worker, name);
  return model != nullptr && model->status().state == conclave::worker::HostedModel::State::kReady;
}

// Ends a worker as a crash would, and starts it again on the same port.
void Restart(std::unique_ptr<ScriptedWorker>* worker, const std::string& model = "scripted") {
  const ScriptedWorkerOptions options{
      .model = model, .worker_id = (*worker)->worker().worker_id(), .port = (*worker)->port()};
  worker->reset();
  *worker = std::make_unique<ScriptedWorker>("{}", options);
}

struct World {
  TestDatabase db;
  std::unique_ptr<ScriptedWorker> a =
      std::make_unique<ScriptedWorker>("{}", ScriptedWorkerOptions{.worker_id = "a"});
  std::unique_ptr<ScriptedWorker> b =
      std::make_unique<ScriptedWorker>("{}", ScriptedWorkerOptions{.worker_id = "b"});
  std::vector<std::string> addresses() const { return {a->address(), b->address()}; }
};

}  // namespace

TEST_CASE("a registered model comes to every worker and goes from every worker") {
  World world;
  Replica store(world.db, world.addresses(), "one");
  REQUIRE(store.Register(Derived("pirate", "scripted", "Speak like a pirate.")).ok());
  CHECK(store.Names() == std::vector<std::string>{"pirate"});
  // One has taken it up; the other is brought it.
  CHECK(WaitUntil([&] { return Serves(*world.a, "pirate") && Serves(*world.b, "pirate"); }));
  REQUIRE(store.Unregister("pirate").ok());
  CHECK(store.Names().empty());
  CHECK(WaitUntil([&] {
    return Hosted(*world.a, "pirate") == nullptr && Hosted(*world.b, "pirate") == nullptr;
  }));
  CHECK(absl::IsNotFound(store.Unregister("pirate")));
}

TEST_CASE("a registration outlives the workers and the store") {
  World world;
  {
    Replica store(world.db, world.addresses(), "one");
    REQUIRE(store.Register(Derived("pirate", "scripted", "Arr.")).ok());
  }
  Restart(&world.a);
  Restart(&world.b);
  CHECK_FALSE(Serves(*world.a, "pirate"));
  Replica again(world.db, world.addresses(), "two");
  CHECK(WaitUntil([&] { return Serves(*world.a, "pirate") && Serves(*world.b, "pirate"); }));
  CHECK(Hosted(*world.a, "pirate")->derived->system == "Arr.");
  // And one that restarts under a living store.
  Restart(&world.a);
  CHECK(WaitUntil([&] { return Serves(*world.a, "pirate"); }));
}

TEST_CASE("what a worker refuses leaves nothing behind") {
  World world;
  Replica store(world.db, world.addresses(), "one");
  const absl::Status no_base = store.Register(Derived("pirate", "parrot"));
  CHECK(absl::IsNotFound(no_base));
  CHECK(conclave::base::ParamOf(no_base) == "derived.base");
  pb::ModelRegistration outside;
  outside.set_name("outside");
  outside.set_path("/etc/passwd");
  CHECK(absl::IsPermissionDenied(store.Register(outside)));
  pb::ModelRegistration templated = Derived("templated", "scripted");
  templated.mutable_derived()->set_template_("{{ messages[0].content }}");
  CHECK(absl::IsUnimplemented(store.Register(templated)));
  CHECK(store.Names().empty());
  CHECK(world.db.Value("SELECT count(*) FROM registrations") == "0");
  CHECK(world.db.Value("SELECT count(*) FROM registered_names") == "0");
  CHECK(WaitUntil([&] { return Hosted(*world.a, "templated") == nullptr; }));
}

TEST_CASE("the same again changes nothing, another of the name is refused or takes its place") {
  World world;
  Replica store(world.db, world.addresses(), "one");
  REQUIRE(store.Register(Derived("pirate", "scripted", "Arr.")).ok());
  CHECK(store.Register(Derived("pirate", "scripted", "Arr.")).ok());
  CHECK(absl::IsAlreadyExists(store.Register(Derived("pirate", "scripted", "Ahoy."))));
  CHECK(absl::IsAlreadyExists(store.Register(Derived("PIRATE", "scripted", "Arr."))));
  CHECK(WaitUntil([&] { return Serves(*world.a, "pirate") && Serves(*world.b, "pirate"); }));

  REQUIRE(store.Register(Derived("pirate", "scripted", "Ahoy."), true).ok());
  const auto says = [](ScriptedWorker& worker, const std::string& system) {
    return Serves(worker, "pirate") && Hosted(worker, "pirate")->derived->system == system;
  };
  CHECK(WaitUntil([&] { return says(*world.a, "Ahoy.") && says(*world.b, "Ahoy."); }));

  // A replacement that is refused leaves the old one, in the rows and on the workers.
  CHECK_FALSE(store.Register(Derived("pirate", "parrot"), true).ok());
  CHECK(store.Names() == std::vector<std::string>{"pirate"});
  CHECK(WaitUntil([&] { return says(*world.a, "Ahoy.") && says(*world.b, "Ahoy."); }));
}

TEST_CASE("aliases are names: unique, found, and gone with their model") {
  World world;
  Replica store(world.db, world.addresses(), "one");
  pb::ModelRegistration pirate = Derived("pirate", "scripted");
  pirate.add_aliases("Corsair");
  REQUIRE(store.Register(pirate).ok());
  CHECK(absl::IsAlreadyExists(store.Register(Derived("corsair", "scripted"))));
  pb::GetRegistrationRequest get;
  get.set_name("CORSAIR");
  REQUIRE(store.registrations.Get(get).ok());
  CHECK(store.registrations.Get(get)->name() == "pirate");
  REQUIRE(store.Unregister("pirate").ok());
  CHECK(WaitUntil([&] { return Hosted(*world.a, "pirate") == nullptr; }));
  CHECK(store.Register(Derived("corsair", "scripted")).ok());
}

TEST_CASE("what is derived from a derived model stands on the base of both") {
  World world;
  Replica store(world.db, world.addresses(), "one");
  pb::ModelRegistration pirate = Derived("pirate", "scripted", "Arr.");
  pirate.mutable_derived()->set_parameters_json(R"({"temperature":0.1})");
  REQUIRE(store.Register(pirate).ok());
  REQUIRE(store.Register(Derived("captain", "Pirate", "You command.")).ok());
  REQUIRE(store.Register(Derived("copy", "pirate")).ok());
  REQUIRE(store.Unregister("pirate").ok());
  CHECK(WaitUntil([&] { return Hosted(*world.a, "pirate") == nullptr; }));
  pb::GetRegistrationRequest get;
  get.set_name("captain");
  const auto captain = store.registrations.Get(get);
  REQUIRE(captain.ok());
  CHECK(captain->derived().base() == "scripted");
  CHECK(captain->derived().system() == "You command.");
  CHECK(captain->derived().parameters_json() == R"({"temperature":0.1})");
  CHECK(WaitUntil([&] { return Serves(*world.a, "captain") && Serves(*world.a, "copy"); }));
  CHECK(Hosted(*world.a, "copy")->derived->system == "Arr.");
}

TEST_CASE("a worker's own model wins over a registered one of its name") {
  World world;
  world.a->Add("own", "{}");
  Replica store(world.db, world.addresses(), "one");
  CHECK(absl::IsAlreadyExists(store.Register(Derived("own", "scripted"))));
  CHECK(absl::IsInvalidArgument(store.Register(Derived("scripted", "scripted"))));
  REQUIRE(store.Register(Derived("pirate", "scripted")).ok());
  CHECK(WaitUntil([&] { return Serves(*world.b, "pirate"); }));
  // Its command line names the model the next time.
  Restart(&world.a, "pirate");
  Restart(&world.b);
  CHECK(WaitUntil([&] { return Serves(*world.b, "pirate"); }));
  CHECK(Hosted(*world.a, "pirate")->registration.empty());
  // It is not taken away with the registration either.
  REQUIRE(store.Unregister("pirate").ok());
  CHECK(WaitUntil([&] { return Hosted(*world.b, "pirate") == nullptr; }));
  CHECK(Serves(*world.a, "pirate"));
}

namespace {

// A folder of model files that two workers share.
struct Blobs {
  Blobs() {
    std::string name = (fs::temp_directory_path() / "conclave-shared-XXXXXX").string();
    folder = mkdtemp(name.data());
  }
  ~Blobs() { fs::remove_all(folder); }

  // A script as a model file. Its name.
  std::string Put(const std::string& script) const {
    const auto store = conclave::worker::BlobStore::Open(folder.string(), 1 << 20);
    REQUIRE(store.ok());
    auto writer = (*store)->Begin("");
    REQUIRE(writer.ok());
    REQUIRE((*writer)->Append(script).ok());
    const auto digest = (*writer)->Commit();
    REQUIRE(digest.ok());
    return conclave::worker::BlobName(*digest);
  }
  // One that nobody has written or asked for in days.
  std::string PutOld(const std::string& script) const {
    const std::string file = Put(script);
    fs::last_write_time(folder / file,
                        fs::file_time_type::clock::now() - std::chrono::hours(9 * 24));
    return file;
  }
  bool Has(const std::string& file) const { return fs::exists(folder / file); }

  fs::path folder;
};

pb::ModelRegistration OfFile(const std::string& name, const std::string& file) {
  pb::ModelRegistration registration;
  registration.set_name(name);
  registration.set_backend("scripted");
  registration.set_path(file);
  return registration;
}

}  // namespace

TEST_CASE("model files go with the last model that names them, and when nothing names them") {
  const Blobs blobs;
  const std::string shared = blobs.Put("{}");
  const std::string unnamed = blobs.PutOld(R"({"slots":3})");
  TestDatabase db;
  const auto worker = [&](const std::string& id) {
    return std::make_unique<ScriptedWorker>(
        "{}", ScriptedWorkerOptions{.worker_id = id, .blob_dir = blobs.folder.string()});
  };
  const auto a = worker("a");
  const auto b = worker("b");
  Replica store(db, {a->address(), b->address()}, "one");
  REQUIRE(store.Register(OfFile("one", shared)).ok());
  CHECK(WaitUntil([&] { return !blobs.Has(unnamed); }));
  REQUIRE(store.Register(OfFile("two", shared)).ok());
  REQUIRE(WaitUntil([&] { return Serves(*a, "two") && Serves(*b, "two"); }));
  REQUIRE(store.Unregister("one").ok());
  REQUIRE(WaitUntil([&] { return Hosted(*a, "one") == nullptr && Hosted(*b, "one") == nullptr; }));
  // When another file has gone, whoever collects has been there.
  const std::string marker = blobs.PutOld(R"({"slots":5})");
  CHECK(WaitUntil([&] { return !blobs.Has(marker); }));
  CHECK(blobs.Has(shared));
  REQUIRE(store.Unregister("two").ok());
  CHECK(WaitUntil([&] { return !blobs.Has(shared); }));
}

TEST_CASE("nothing is collected while a model is being registered") {
  const Blobs blobs;
  TestDatabase db;
  const auto a = std::make_unique<ScriptedWorker>(
      "{}", ScriptedWorkerOptions{.worker_id = "a", .blob_dir = blobs.folder.string()});
  Replica store(db, {a->address()}, "one");
  // Somebody else, on its way between the worker's yes and the row.
  pb::ModelRegistration slow = Derived("slow", "scripted");
  slow.set_digest("d");
  REQUIRE(store.registrations.Begin(slow, false, seconds(60)).ok());
  const std::string old = blobs.PutOld("{}");
  REQUIRE(store.Register(Derived("pirate", "scripted")).ok());
  REQUIRE(store.Unregister("pirate").ok());
  CHECK(blobs.Has(old));
  REQUIRE(store.registrations.Settle(slow, false).ok());
  CHECK(WaitUntil([&] { return !blobs.Has(old); }));
}

TEST_CASE("without a worker nothing can be registered") {
  TestDatabase db;
  Replica none(db, {}, "one");
  const absl::Status status = none.Register(Derived("pirate", "scripted"));
  CHECK(absl::IsUnavailable(status));
  CHECK(conclave::base::ReasonOf(status) == "no_worker");
  CHECK(none.Names().empty());
}

TEST_CASE("one replica at a time has the duty, and another takes it over") {
  World world;
  const auto owner = [&] { return world.db.Value("SELECT owner FROM duties"); };
  auto one = std::make_unique<Replica>(world.db, world.addresses(), "one");
  // The first to ask has it, so the second replica may only start after that.
  REQUIRE(WaitUntil([&] { return owner() == "one"; }));
  Replica two(world.db, world.addresses(), "two");
  // Whoever is asked registers; the other carries it to the rest.
  REQUIRE(two.Register(Derived("pirate", "scripted")).ok());
  CHECK(WaitUntil([&] { return Serves(*world.a, "pirate") && Serves(*world.b, "pirate"); }));
  one.reset();
  CHECK(WaitUntil([&] { return owner() == "two"; }));
  Restart(&world.b);
  CHECK(WaitUntil([&] { return Serves(*world.b, "pirate"); }));
}

TEST_CASE("a row that was begun and never settled is free again after its time") {
  World world;
  Replica store(world.db, world.addresses(), "one");
  pb::ModelRegistration lost = Derived("pirate", "scripted");
  lost.set_digest("lost");
  REQUIRE(store.registrations.Begin(lost, false, milliseconds(600'000)).ok());
  CHECK(store.Names().empty());
  CHECK(absl::IsUnavailable(store.Register(Derived("pirate", "scripted"))));
  world.db.Value("UPDATE registrations SET busy_until = clock_timestamp() RETURNING name");
  CHECK(store.Register(Derived("pirate", "scripted")).ok());
  CHECK(store.Names() == std::vector<std::string>{"pirate"});
}
