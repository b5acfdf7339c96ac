// Answers like assistant-store where a test of its callers needs an answer: echoes, pages, refuses,
// streams numbered events.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "mesh/server.h"

namespace conclave::support {

class FakeStore final {
 public:
  // GetAssistant: NOT_FOUND (reason "no_such_assistant") unless the id is "asst_1". CreateThread
  // echoes. CreateRun answers "run_1". StreamRun: `events` of them, from after_seq + 1 on.
  explicit FakeStore(int events, mesh::ServerOptions options = {.listen = "127.0.0.1:0"});
  ~FakeStore();
  std::string address() const;
  void SetReady(bool ready);

  std::atomic<int> streams{0};     // open StreamRun calls
  std::atomic<int> assistants{0};  // GetAssistant calls so far

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace conclave::support
