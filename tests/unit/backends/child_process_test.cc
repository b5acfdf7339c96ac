#include "backends/child_process.h"

#include <dirent.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "support/wait_until.h"

namespace conclave::backends {
namespace {

using std::chrono::milliseconds;

ChildSpec Shell(const std::string& script) {
  return {.argv = {"/bin/sh", "-c", script}, .environment = {"PATH=/usr/bin:/bin", "A=b c"}};
}

std::string ReadAll(int fd) {
  std::string all;
  char buffer[4096];
  pollfd wait{fd, POLLIN, 0};
  while (poll(&wait, 1, 20'000) == 1) {
    const ssize_t got = read(fd, buffer, sizeof buffer);
    if (got == 0) break;
    if (got > 0) all.append(buffer, static_cast<size_t>(got));
  }
  return all;
}

std::string OutputOf(const ChildSpec& spec) {
  auto child = ChildProcess::Start(spec);
  REQUIRE(child.ok());
  return ReadAll((*child)->output());
}

int NumDescriptors() {
  int count = 0;
  DIR* folder = opendir("/proc/self/fd");
  while (readdir(folder) != nullptr) ++count;
  closedir(folder);
  return count;
}

}  // namespace

TEST_CASE("a child sees its arguments, its environment and its folder, and nothing else") {
  ChildSpec spec{.argv = {"/usr/bin/env"}, .environment = {"A=b c"}};
  CHECK(OutputOf(spec) == "A=b c\n");
  spec = {.argv = {"/bin/echo", "$HOME; `id`", "*"}};
  CHECK(OutputOf(spec) == "$HOME; `id` *\n");
  spec = Shell("pwd");
  spec.directory = "/usr";
  CHECK(OutputOf(spec) == "/usr\n");
  // Descriptors of ours are not its: 0, 1, 2 and what ls opens.
  spec = {.argv = {"/bin/ls", "/proc/self/fd"}};
  CHECK(OutputOf(spec) == "0\n1\n2\n3\n");
  spec = Shell("ulimit -n; ulimit -c");
  spec.open_files = 17;
  CHECK(OutputOf(spec) == "17\n0\n");
}

TEST_CASE("what cannot be run says why, and leaves nothing behind") {
  const int before = NumDescriptors();
  const auto none = ChildProcess::Start({.argv = {"/nowhere/program"}});
  CHECK(none.status().message() == "/nowhere/program: No such file or directory");
  ChildSpec spec = Shell("true");
  spec.directory = "/nowhere";
  CHECK(absl::IsFailedPrecondition(ChildProcess::Start(spec).status()));
  CHECK(NumDescriptors() == before);
}

TEST_CASE("how a child ended is told, and its zombie goes with the object") {
  auto child = ChildProcess::Start(Shell("exit 3"));
  REQUIRE(child.ok());
  REQUIRE(support::WaitUntil([&] { return (*child)->Ended().has_value(); }));
  CHECK(*(*child)->Ended() == "exit status 3");
  const pid_t pid = (*child)->pid();
  child->reset();
  CHECK(kill(pid, 0) != 0);
}

TEST_CASE(
    "the whole group is killed, also who ignores the polite signal and who has lost its leader") {
  const int before = NumDescriptors();
  auto child =
      ChildProcess::Start(Shell("trap '' TERM; sleep 1000 & echo $!; sleep 1000; sleep 1"));
  REQUIRE(child.ok());
  char digits[32] = {};
  pollfd wait{(*child)->output(), POLLIN, 0};
  REQUIRE(poll(&wait, 1, 20'000) == 1);
  REQUIRE(read((*child)->output(), digits, sizeof digits - 1) > 0);
  const pid_t grandchild = std::atoi(digits);
  REQUIRE(kill(grandchild, 0) == 0);
  (*child)->Kill(milliseconds(20));
  CHECK(*(*child)->Ended() == "gone");
  // Its orphan is reaped by init, in its own time.
  CHECK(support::WaitUntil([&] { return kill(grandchild, 0) != 0; }));
  child->reset();
  CHECK(NumDescriptors() == before);
}

TEST_CASE("memory and processor limits end the child, not us") {
  ChildSpec spec = Shell("while :; do :; done");
  spec.cpu_seconds = 1;
  auto child = ChildProcess::Start(spec);
  REQUIRE(child.ok());
  REQUIRE(
      support::WaitUntil([&] { return (*child)->Ended().has_value(); }, std::chrono::seconds(30)));
  CHECK((*child)->Ended()->find("signal") == 0);
}

}  // namespace conclave::backends
