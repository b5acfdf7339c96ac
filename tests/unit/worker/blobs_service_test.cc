// Model files that nobody names any more: which of them go, and when.
#include "worker/blobs_service.h"

#include <atomic>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <thread>

namespace conclave::worker {
namespace {

namespace fs = std::filesystem;
using std::chrono::hours;
using std::chrono::seconds;

constexpr hours kDay{24};

struct Folder {
  Folder() {
    std::string name = (fs::temp_directory_path() / "conclave-collect-XXXXXX").string();
    path = mkdtemp(name.data());
  }
  ~Folder() { fs::remove_all(path); }
  fs::path path;
};

std::unique_ptr<BlobStore> Open(const Folder& folder, int64_t bytes_max = 1 << 20) {
  auto store = BlobStore::Open(folder.path.string(), bytes_max);
  REQUIRE(store.ok());
  return *std::move(store);
}

// Its digest.
std::string Put(BlobStore& store, const std::string& bytes) {
  auto writer = store.Begin("");
  REQUIRE(writer.ok());
  REQUIRE((*writer)->Append(bytes).ok());
  const auto digest = (*writer)->Commit();
  REQUIRE(digest.ok());
  return *digest;
}

bool IsThere(const BlobStore& store, const std::string& digest) {
  return fs::exists(fs::path(store.folder()) / BlobName(digest));
}

BlobStore::Needs Nothing() {
  BlobStore::Needs needs;
  needs.unnamed_for = kDay;
  needs.in_use = [](const std::string&) { return false; };
  return needs;
}

BlobStore::Time After(std::chrono::milliseconds time) {
  return std::chrono::system_clock::now() + time;
}

}  // namespace

TEST_CASE("a file that nobody names goes when its time is over, and its room is free") {
  const Folder folder;
  const auto store = Open(folder, 8);
  const std::string digest = Put(*store, "hello");
  CHECK(store->Collect(Nothing(), After(kDay - seconds(60))).files == 0);
  CHECK(IsThere(*store, digest));
  const BlobStore::Collected gone = store->Collect(Nothing(), After(kDay + seconds(60)));
  CHECK(gone.files == 1);
  CHECK(gone.bytes == 5);
  CHECK_FALSE(IsThere(*store, digest));
  Put(*store, "12345678");
}

TEST_CASE("a file that a registered model names, or a model here is made from, stays") {
  const Folder folder;
  const auto store = Open(folder);
  const std::string named = Put(*store, "named");
  const std::string used = Put(*store, "used");
  BlobStore::Needs needs = Nothing();
  needs.named = {BlobName(named)};
  needs.in_use = [&](const std::string& name) { return name == BlobName(used); };
  needs.dropped = {{BlobName(named), After(kDay)}, {BlobName(used), After(kDay)}};
  CHECK(store->Collect(needs, After(30 * kDay)).files == 0);
  CHECK(IsThere(*store, named));
  CHECK(IsThere(*store, used));
}

TEST_CASE("who asks for a file has its time begin anew, in every process of the folder") {
  const Folder folder;
  const auto one = Open(folder);
  const std::string digest = Put(*one, "hello");
  fs::last_write_time(folder.path / BlobName(digest), fs::file_time_type::clock::now() - 9 * kDay);
  const auto two = Open(folder);
  CHECK(two->Find(digest).ok());
  CHECK(one->Collect(Nothing(), After(kDay - seconds(60))).files == 0);
  CHECK(one->Collect(Nothing(), After(kDay + seconds(60))).files == 1);
  CHECK_FALSE(two->Find(digest).ok());
}

TEST_CASE("bringing a file that is there makes its time begin anew") {
  const Folder folder;
  const auto store = Open(folder);
  const std::string digest = Put(*store, "hello");
  fs::last_write_time(folder.path / BlobName(digest), fs::file_time_type::clock::now() - 9 * kDay);
  Put(*store, "hello");
  CHECK(store->Collect(Nothing(), After(seconds(60))).files == 0);
}

TEST_CASE("a dropped file goes at once, unless somebody has asked for it since") {
  const Folder folder;
  const auto store = Open(folder);
  const std::string digest = Put(*store, "hello");
  REQUIRE(store->Find(digest).ok());  // as a create asks before it registers
  BlobStore::Needs needs = Nothing();
  needs.dropped = {{BlobName(digest), After(-seconds(60))}};  // registered before that
  CHECK(store->Collect(needs, After(seconds(0))).files == 0);
  needs.dropped = {{BlobName(digest), After(seconds(60))}};
  CHECK(store->Collect(needs, After(seconds(0))).files == 1);
}

TEST_CASE("a model that is made while its file goes has it back") {
  const Folder folder;
  const auto store = Open(folder);
  const std::string digest = Put(*store, "hello");
  int asked = 0;
  bool out_of_reach = false;
  BlobStore::Needs needs = Nothing();
  needs.in_use = [&](const std::string&) {
    out_of_reach = !IsThere(*store, digest);
    return ++asked == 2;
  };
  CHECK(store->Collect(needs, After(2 * kDay)).files == 0);
  CHECK(out_of_reach);
  CHECK(*store->Find(digest) == 5);
}

TEST_CASE("what a process that died was taking away is there again") {
  const Folder folder;
  std::string digest;
  {
    const auto store = Open(folder);
    digest = Put(*store, "hello");
    const std::string name = BlobName(digest);
    fs::rename(folder.path / name, folder.path / ".claims" / (name + ".going"));
    CHECK_FALSE(store->Find(digest).ok());
  }
  CHECK(*Open(folder)->Find(digest) == 5);
}

TEST_CASE("uploads under way, links and strangers' files are not touched") {
  const Folder folder;
  const auto store = Open(folder);
  const auto writer = *store->Begin("");
  REQUIRE(writer->Append("half").ok());
  std::ofstream(folder.path / "mine.gguf") << "mine";
  const std::string link = "sha256-" + std::string(64, 'a');
  fs::create_symlink(folder.path / "mine.gguf", folder.path / link);
  CHECK(store->Collect(Nothing(), After(30 * kDay)).files == 0);
  CHECK(fs::exists(folder.path / "mine.gguf"));
  CHECK(fs::is_symlink(folder.path / link));
  CHECK(writer->Commit().ok());
}

TEST_CASE("room that another process of the folder frees or takes is seen") {
  const Folder folder;
  const auto one = Open(folder, 12);
  const auto two = Open(folder, 12);
  Put(*one, "0123456789");
  CHECK(two->Collect(Nothing(), After(2 * kDay)).files == 1);
  one->Collect(Nothing(), After(seconds(0)));
  Put(*one, "9876543210");
}

TEST_CASE("files that come, are asked for and go at once are never half there") {
  const Folder folder;
  const auto one = Open(folder);
  const auto two = Open(folder);
  std::atomic<bool> stop{false};
  // Whoever has been told that the file is there still finds it: its time has just begun.
  std::atomic<int> lost{0};
  std::jthread collector([&] {
    while (!stop) two->Collect(Nothing(), After(seconds(0)));
  });
  for (int i = 0; i < 200; ++i) {
    const std::string digest = Put(*one, "hello");
    fs::last_write_time(folder.path / BlobName(digest),
                        fs::file_time_type::clock::now() - 9 * kDay);
    fs::remove(folder.path / ".claims" / BlobName(digest));  // nobody has asked for long
    if (one->Find(digest).ok() && !IsThere(*one, digest)) ++lost;
  }
  stop = true;
  CHECK(lost == 0);
}

}  // namespace conclave::worker
