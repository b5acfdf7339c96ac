#include "base/shutdown.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <thread>
#include <vector>

namespace conclave::base {

using std::chrono::milliseconds;
using std::chrono::seconds;

TEST_CASE("a signal walks the phases in order") {
  Shutdown shutdown;
  std::vector<std::string> told;
  shutdown.OnStop([&] { told.push_back("stop"); });
  shutdown.OnDrain([&](SteadyTime deadline) {
    CHECK(deadline > std::chrono::steady_clock::now() + seconds(10));
    told.push_back("drain a");
  });
  shutdown.OnDrain([&](SteadyTime) { told.push_back("drain b"); });
  shutdown.OnNotReady([&] { told.push_back("not ready"); });
  CHECK_FALSE(shutdown.WaitRequested(milliseconds(1)));
  REQUIRE(kill(getpid(), SIGTERM) == 0);
  CHECK(shutdown.Run({.settle = milliseconds(1), .drain = seconds(30)}) == 0);
  CHECK(told == std::vector<std::string>{"not ready", "drain a", "drain b", "stop"});
}

TEST_CASE("a request does what a signal does") {
  Shutdown shutdown;
  std::thread asker([&] { shutdown.Request("broken"); });
  CHECK(shutdown.Run({}) == 0);
  CHECK(shutdown.requested());
  asker.join();
}

TEST_CASE("a second signal ends a process that hangs") {
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    freopen("/dev/null", "w", stderr);
    Shutdown shutdown;
    shutdown.OnDrain([](SteadyTime) {
      kill(getpid(), SIGINT);
      std::this_thread::sleep_for(seconds(60));
    });
    kill(getpid(), SIGTERM);
    shutdown.Run({});
    _exit(1);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 130);
}

}  // namespace conclave::base
