#include "mesh/prefix_memory.h"

#include <catch2/catch.hpp>

namespace conclave::mesh {
namespace {

namespace pb = conclave::v1;

pb::GenerateRequest Text(const std::string& text) {
  pb::GenerateRequest request;
  request.set_model("m");
  request.set_text(text);
  return request;
}

pb::GenerateRequest Chat(int turns) {
  pb::GenerateRequest request;
  request.set_model("m");
  for (int i = 0; i < turns; ++i) {
    pb::ChatMessage& message = *request.mutable_chat()->add_messages();
    message.set_role(i % 2 == 0 ? pb::ROLE_USER : pb::ROLE_ASSISTANT);
    message.add_content()->set_text(std::string(700, static_cast<char>('a' + i)));
  }
  return request;
}

using Matches = std::vector<std::pair<std::string, int64_t>>;

size_t CommonBlocks(const pb::GenerateRequest& a, const pb::GenerateRequest& b) {
  const auto x = PrefixMemory::Chain(a), y = PrefixMemory::Chain(b);
  size_t n = 0;
  while (n < x.size() && n < y.size() && x[n] == y[n]) ++n;
  return n;
}

}  // namespace

TEST_CASE("equal beginnings give equal chains, up to the first difference") {
  const std::string base(2048, 'x');
  CHECK(PrefixMemory::Chain(Text(base)).size() == 4);
  CHECK(PrefixMemory::Chain(Text("short")).empty());
  CHECK(CommonBlocks(Text(base + "a"), Text(base + "b")) == 4);
  std::string other = base;
  other[600] = 'y';
  CHECK(CommonBlocks(Text(base), Text(other)) == 1);
  // A later block is not equal merely because its own bytes are.
  CHECK(PrefixMemory::Chain(Text(base))[3] != PrefixMemory::Chain(Text(other))[3]);
}

TEST_CASE("a growing conversation keeps its chain; tenant, salt and tools part it") {
  const size_t turns4 = PrefixMemory::Chain(Chat(4)).size();
  CHECK(turns4 == 5);
  CHECK(CommonBlocks(Chat(4), Chat(6)) == turns4);
  pb::GenerateRequest other = Chat(4);
  SECTION("tenant") { other.mutable_meta()->set_tenant("b"); }
  SECTION("salt") { other.mutable_meta()->set_cache_salt("s"); }
  SECTION("model") { other.set_model("n"); }
  SECTION("tools") { other.mutable_chat()->add_tools()->set_name("t"); }
  SECTION("variables") { (*other.mutable_chat()->mutable_template_variables())["x"] = "1"; }
  CHECK(CommonBlocks(Chat(4), other) == 0);
}

TEST_CASE("a prompt is known where it was sent, as far as it was sent") {
  PrefixMemory memory;
  const auto longer = PrefixMemory::Chain(Text(std::string(4096, 'x')));
  const auto shorter = PrefixMemory::Chain(Text(std::string(1024, 'x')));
  CHECK(memory.Match(longer).empty());
  memory.Remember(shorter, "w1", 1);
  memory.Remember(longer, "w2", 1);
  CHECK(memory.Match(longer) == Matches{{"w1", 256}, {"w2", 1024}});
  CHECK(memory.Match(PrefixMemory::Chain(Text(std::string(4096, 'y')))).empty());
}

TEST_CASE("a key of affinity leads to the worker that had it last, beside what prompts say") {
  pb::GenerateRequest request;
  request.set_model("m");
  CHECK(PrefixMemory::Affinity(request).empty());
  request.set_affinity_key("session 1");
  const auto key = PrefixMemory::Affinity(request);
  REQUIRE(key.size() == 1);
  request.mutable_meta()->set_tenant("other");
  CHECK(PrefixMemory::Affinity(request) != key);

  PrefixMemory memory;
  memory.Remember(key, "b", 1);
  const std::vector<std::pair<std::string, int64_t>> one_block = {
      {"b", PrefixMemory::kBlockBytes / 4}};
  CHECK(memory.Match({}, key) == one_block);
  CHECK(memory.Match({}).empty());
  memory.Remember({1, 2, 3}, "a", 1);
  const auto both = memory.Match({1, 2, 3}, key);
  REQUIRE(both.size() == 2);
  CHECK(both[0].second == 3 * both[1].second);
}

TEST_CASE("a restart forgets") {
  PrefixMemory memory;
  const auto chain = PrefixMemory::Chain(Text(std::string(1024, 'x')));
  memory.Remember(chain, "w1", 1);
  memory.Remember(PrefixMemory::Chain(Text(std::string(1024, 'z'))), "w1", 2);
  CHECK(memory.Match(chain).empty());
}

TEST_CASE("the memory is bounded and forgets what is old") {
  PrefixMemory memory(8);
  const auto chain_of = [](int i) {
    return PrefixMemory::Chain(Text(std::to_string(i) + std::string(1200, 'x')));
  };
  for (int i = 0; i < 100; ++i) memory.Remember(chain_of(i), "w1", 1);
  CHECK(memory.Match(chain_of(0)).empty());
  CHECK(memory.Match(chain_of(99)) == Matches{{"w1", 256}});
}

TEST_CASE("more workers than bits do not confuse it") {
  PrefixMemory memory;
  const auto chain = PrefixMemory::Chain(Text(std::string(512, 'x')));
  for (int i = 0; i < 65; ++i) memory.Remember(chain, "w" + std::to_string(i), 1);
  CHECK(memory.Match(chain) == Matches{{"w64", 128}});
}

}  // namespace conclave::mesh
