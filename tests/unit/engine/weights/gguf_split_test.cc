#include "engine/weights/gguf_split.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>

#include "base/strings.h"
#include "engine/weights/gguf.h"
#include "engine/weights/gguf_writer.h"
#include "temp_file.h"

namespace conclave::engine {
namespace {

std::string Message(const absl::Status& status) { return std::string(base::Std(status.message())); }

// One shard; what is set is wrong on purpose in one test or other.
struct ShardSpec {
  uint32_t number = 0;
  uint32_t count = 3;
  int32_t all_tensors = 4;
  std::vector<std::string> tensors;
  std::string model;  // general.name; empty = not said
};

std::vector<std::byte> Bytes(const ShardSpec& spec) {
  GgufWriter writer;
  if (spec.number == 0) writer.SetString("general.architecture", "llama");
  if (!spec.model.empty()) writer.SetString("general.name", spec.model);
  writer.SetUint32("split.no", spec.number);
  writer.SetUint32("split.count", spec.count);
  if (spec.all_tensors >= 0) writer.SetInt32("split.tensors.count", spec.all_tensors);
  for (const std::string& name : spec.tensors) {
    writer.AddTensor(name, DType::kF32, {8}, std::vector<float>(8, static_cast<float>(name[0])));
  }
  return writer.Serialize();
}

std::vector<ShardSpec> GoodSpecs() {
  return {{.number = 0, .tensors = {}, .model = "m"},  // gguf-split can leave the first empty
          {.number = 1, .tensors = {"a", "b"}, .model = ""},
          {.number = 2, .tensors = {"c", "d"}, .model = "m"}};
}

absl::Status Join(const std::vector<ShardSpec>& specs) {
  std::vector<std::vector<std::byte>> bytes;
  std::vector<GgufBytes> shards;
  for (const ShardSpec& spec : specs) bytes.push_back(Bytes(spec));
  for (size_t i = 0; i < bytes.size(); ++i) shards.push_back({bytes[i], "s" + std::to_string(i)});
  return OpenGgufShards(shards).status();
}

void Refused(const std::vector<ShardSpec>& specs, std::string_view message) {
  const absl::Status status = Join(specs);
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(Message(status) == message);
}

std::string NameOfShard(int number, int count) {
  return "model-0000" + std::to_string(number) + "-of-0000" + std::to_string(count) + ".gguf";
}

}  // namespace

TEST_CASE("any shard opens the whole model") {
  const TempFolder folder;
  std::vector<std::string> paths;
  for (const ShardSpec& spec : GoodSpecs()) {
    paths.push_back(folder.Write(NameOfShard(static_cast<int>(spec.number) + 1, 3), Bytes(spec)));
  }
  for (const std::string& path : paths) {
    const auto source = OpenGguf(path);
    REQUIRE(source.ok());
    CHECK((*source)->path() == path);
    CHECK(*(*source)->Architecture() == "llama");
    CHECK(*(*source)->GetString("general.name") == "m");
    CHECK_FALSE((*source)->Has("split.count"));  // it is whole now
    CHECK((*source)->tensors().size() == 4);
    for (const char* name : {"a", "b", "c", "d"}) {
      REQUIRE((*source)->FindTensor(name) != nullptr);
      float value = 0;
      std::memcpy(&value, (*source)->FindTensor(name)->view.data, 4);
      CHECK(value == static_cast<float>(name[0]));
      (*source)->DoneWith((*source)->FindTensor(name)->view);
    }
    CHECK((*source)->Health().ok());
  }
  // Health is that of every shard.
  const auto source = OpenGguf(paths[0]);
  REQUIRE(source.ok());
  std::filesystem::resize_file(paths[2], 0);
  volatile std::byte touched = *(*source)->FindTensor("c")->view.data;
  CHECK(touched == std::byte{0});
  CHECK((*source)->Health().code() == absl::StatusCode::kFailedPrecondition);
}

TEST_CASE("a missing shard is named") {
  const TempFolder folder;
  const std::vector<ShardSpec> specs = GoodSpecs();
  const std::string path = folder.Write(NameOfShard(1, 3), Bytes(specs[0]));
  folder.Write(NameOfShard(3, 3), Bytes(specs[2]));
  const absl::Status status = OpenGguf(path).status();
  CHECK(status.code() == absl::StatusCode::kNotFound);
  CHECK(Message(status).find(NameOfShard(2, 3) + ": No such file") != std::string::npos);
  CHECK(Message(status).find("shards of " + path) != std::string::npos);
  // A broken one is refused as it would be alone.
  folder.Write(NameOfShard(2, 3), std::string_view("GGUF"));
  CHECK(OpenGguf(path).status().code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("a shard under another name is refused with the name it should have") {
  const TempFolder folder;
  for (const char* name :
       {"model.gguf", "model-00002-of-00003.gguf", "model-00001-of-00002.gguf"}) {
    const std::string path = folder.Write(name, Bytes(GoodSpecs()[0]));
    const absl::Status status = OpenGguf(path).status();
    CHECK(status.code() == absl::StatusCode::kInvalidArgument);
    CHECK(Message(status) == path +
                                 ": gguf: split.no: shard 1 of 3, whose name should end in "
                                 "-00001-of-00003.gguf");
  }
  const std::vector<std::byte> alone = Bytes(GoodSpecs()[0]);
  CHECK(OpenGgufBytes(alone, "m").status().code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("shards that do not belong together are refused by name and field") {
  REQUIRE(Join(GoodSpecs()).ok());
  auto specs = GoodSpecs();
  specs[1].count = 4;
  Refused(specs, "s1: gguf: split.count: expected 3 here, found 4");
  specs = GoodSpecs();
  std::swap(specs[1], specs[2]);
  Refused(specs, "s1: gguf: split.no: expected 1 here, found 2");
  specs = GoodSpecs();
  specs[2].all_tensors = 9;
  Refused(specs, "s2: gguf: split.tensors.count: expected 4 here, found 9");
  specs = GoodSpecs();
  specs[2].model = "other";
  Refused(specs, "s2: gguf: general.name: differs from s0: a shard of another model");
  specs = GoodSpecs();
  specs[2].tensors = {"c", "a"};
  Refused(specs, "s2: gguf: a: in an earlier shard too");
  specs = GoodSpecs();
  specs[2].tensors = {"c"};
  Refused(specs, "s0: gguf: split.tensors.count: 4, but the shards hold 3");
  specs = GoodSpecs();
  specs.pop_back();
  Refused(specs, "s0: gguf: split.count: 3, but 2 shards");
  // Where the total is not said, the sum is what it is.
  specs = GoodSpecs();
  for (ShardSpec& spec : specs) spec.all_tensors = -1;
  CHECK(Join(specs).ok());
}

TEST_CASE("the names of shards tell those of the others") {
  CHECK(ShardPaths("d/m-00002-of-00002.gguf") ==
        std::vector<std::string>{"d/m-00001-of-00002.gguf", "d/m-00002-of-00002.gguf"});
  for (const char* path :
       {"", "m.gguf", "m-00003-of-00002.gguf", "m-00000-of-00002.gguf", "m-2-of-3.gguf",
        "m-00001-of-99999.gguf", "m--0001-of-00002.gguf", "m-00001-of-00002.gguf.partial"}) {
    CHECK(ShardPaths(path) == std::vector<std::string>{path});
  }
}

TEST_CASE("split keys out of range are refused") {
  for (const auto& [key, value] : {std::pair<const char*, uint32_t>{"split.count", 513},
                                   {"split.no", 2},
                                   {"split.tensors.count", 65'537}}) {
    GgufWriter writer;
    for (const char* name : {"split.count", "split.no", "split.tensors.count"}) {
      writer.SetUint32(name, std::string_view(name) == key ? value : name[6] == 'c' ? 2 : 0);
    }
    const auto bytes = writer.Serialize();
    const absl::Status status = OpenGgufBytes(bytes, "m").status();
    CHECK(status.code() == absl::StatusCode::kInvalidArgument);
    CHECK(Message(status).find(std::string("metadata key ") + key) != std::string::npos);
  }
  GgufWriter writer;
  writer.SetString("split.count", "3");
  const auto bytes = writer.Serialize();
  CHECK(OpenGgufBytes(bytes, "m").status().code() == absl::StatusCode::kInvalidArgument);
}

}  // namespace conclave::engine
