#include "base/sha256.h"

#include <stdlib.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <vector>

namespace conclave::base {
namespace {

// FIPS 180-2, appendix B.1.
constexpr char kAbc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

}  // namespace

TEST_CASE("a digest is that of all pieces together") {
  Sha256 hash;
  hash.Add("a", 1);
  hash.Add("bc", 2);
  CHECK(hash.Hex() == kAbc);
}

TEST_CASE("files are digested one after the other, until somebody stops it") {
  std::string folder = (std::filesystem::temp_directory_path() / "sha256_XXXXXX").string();
  REQUIRE(mkdtemp(folder.data()) != nullptr);
  const std::vector<std::string> files = {folder + "/1", folder + "/2"};
  std::ofstream(files[0]) << "ab";
  std::ofstream(files[1]) << "c";
  CHECK(*Sha256Digest(files, {}) == std::string("sha256:") + kAbc);
  std::stop_source stop;
  stop.request_stop();
  CHECK(absl::IsCancelled(Sha256Digest(files, stop.get_token()).status()));
  CHECK(
      absl::IsDataLoss(Sha256Digest(std::vector{folder}, {}).status()));  // opens, but has no bytes
  std::filesystem::remove_all(folder);
  CHECK(absl::IsNotFound(Sha256Digest(files, {}).status()));
}

}  // namespace conclave::base
