// A store's insides over a fresh database and a scripted worker, for tests of runs: aggregates and
// as many executing replicas as a test wants, each with its own connections and its own discovery.
#pragma once

#include <catch2/catch.hpp>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "mesh/discovery.h"
#include "mesh/inference_client.h"
#include "store/assistants.h"
#include "store/jobs/run_jobs.h"
#include "store/messages.h"
#include "store/run_change.h"
#include "store/runs.h"
#include "store/threads.h"
#include "support/scripted_worker.h"
#include "support/test_database.h"

namespace conclave::tests {

namespace pb = conclave::v1;

// One replica of the store: executes runs.
class Replica final {
 public:
  Replica(const std::string& conninfo, const std::vector<std::string>& workers,
          std::chrono::milliseconds lease, std::chrono::seconds expiry = std::chrono::seconds(600),
          std::chrono::milliseconds worker_patience = std::chrono::milliseconds(20'000))
      : database_({.pool = {.conninfo = conninfo, .size = 8}}),
        runs_(database_, signals_, {.expires_after = expiry}),
        discovery_(*mesh::Discovery::Start({.targets = workers})),
        client_(discovery_.get(), {}),
        jobs_(database_, signals_, &client_,
              {.owner = "test",
               .threads = 4,
               .lease = lease,
               .poll_every = std::chrono::milliseconds(50),
               .executor = {.flush_every = std::chrono::milliseconds(5),
                            .worker_patience = worker_patience}},
              nullptr) {
    REQUIRE(discovery_->WaitFor([](const mesh::Fleet& f) { return f.num_usable() > 0; },
                                std::chrono::seconds(10)));
    jobs_.Start();
  }

  store::Runs& runs() { return runs_; }
  store::RunJobs& jobs() { return jobs_; }

 private:
  store::Database database_;
  store::RunSignals signals_;
  store::Runs runs_;
  std::unique_ptr<mesh::Discovery> discovery_;
  mesh::InferenceClient client_;
  store::RunJobs jobs_;
};

class RunWorld final {
 public:
  explicit RunWorld(std::string_view script,
                    std::chrono::milliseconds lease = std::chrono::milliseconds(15'000),
                    std::chrono::seconds expiry = std::chrono::seconds(600))
      : lease_(lease), expiry_(expiry), worker_(std::make_unique<ScriptedWorker>(script)) {
    pb::CreateAssistantRequest request;
    request.mutable_assistant()->set_model("scripted");
    assistant_ = assistants_.Create(request)->id();
  }

  std::unique_ptr<Replica> NewReplica(
      std::chrono::milliseconds worker_patience = std::chrono::milliseconds(20'000)) {
    return std::make_unique<Replica>(db_.conninfo(), std::vector{worker_->address()}, lease_,
                                     expiry_, worker_patience);
  }

  // A thread that says `text`, and a run of it. `change` may alter the request.
  pb::Run Ask(store::Runs& runs, const std::string& text,
              const std::function<void(pb::CreateRunRequest&)>& change = {}) {
    pb::CreateThreadRequest thread;
    pb::Message* m = thread.add_messages();
    m->set_role(pb::Message::ROLE_USER);
    m->add_content()->mutable_text()->set_value(text);
    auto made = threads_.Create(thread);
    REQUIRE(made.ok());
    pb::CreateRunRequest request;
    request.set_thread_id(made->id());
    request.set_assistant_id(assistant_);
    if (change) change(request);
    auto run = runs.Create(request);
    INFO(run.status().ToString());
    REQUIRE(run.ok());
    return *run;
  }

  pb::Run Get(const pb::Run& run) {
    pb::GetRunRequest request;
    request.set_thread_id(run.thread_id());
    request.set_id(run.id());
    auto got = runs_.Get(request);
    return got.ok() ? *got : pb::Run();
  }

  // Waits until the run rests, or until it has `status`.
  pb::Run Await(const pb::Run& run, pb::RunStatus status = pb::RUN_STATUS_UNSPECIFIED) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    pb::Run got = Get(run);
    const auto there = [&] {
      return status == pb::RUN_STATUS_UNSPECIFIED ? store::IsAtRest(got.status())
                                                  : got.status() == status;
    };
    while (!there() && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      got = Get(run);
    }
    REQUIRE(there());
    return got;
  }

  std::vector<pb::RunEvent> Events(const pb::Run& run, int64_t after = 0) {
    auto read = runs_.ReadEvents("default", run.thread_id(), run.id(), after, 100'000);
    REQUIRE(read.ok());
    return read->events;
  }

  // Waits until so many text deltas were told.
  void AwaitDeltas(const pb::Run& run, int count) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (std::chrono::steady_clock::now() < deadline) {
      int seen = 0;
      for (const auto& event : Events(run)) seen += event.has_message_delta();
      if (seen >= count) return;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    FAIL("the run told no deltas");
  }

  std::vector<pb::Message> MessagesOf(const pb::Run& run) {
    pb::ListMessagesRequest request;
    request.set_thread_id(run.thread_id());
    request.set_run_id(run.id());
    request.mutable_page()->set_order(pb::PageRequest::ORDER_ASC);
    auto page = messages_.List(request);
    REQUIRE(page.ok());
    return {page->data().begin(), page->data().end()};
  }

  TestDatabase& db() { return db_; }
  ScriptedWorker& worker() { return *worker_; }
  // Ends the worker as a crash would, and starts it again on the same port.
  void RestartWorker(std::string_view script) {
    const int port = worker_->port();
    worker_.reset();
    worker_ = std::make_unique<ScriptedWorker>(script, ScriptedWorkerOptions{.port = port});
  }
  store::Threads& threads() { return threads_; }
  store::Messages& messages() { return messages_; }
  const std::string& assistant() const { return assistant_; }

 private:
  const std::chrono::milliseconds lease_;
  const std::chrono::seconds expiry_;
  TestDatabase db_;
  std::unique_ptr<ScriptedWorker> worker_;
  store::RunSignals signals_;
  store::Assistants assistants_{db_.database()};
  store::Threads threads_{db_.database()};
  store::Messages messages_{db_.database()};
  store::Runs runs_{db_.database(), signals_};  // to look at runs; replicas have their own
  std::string assistant_;
};

// The names, deltas counted once in a row.
inline std::vector<std::string> Names(const std::vector<pb::RunEvent>& events) {
  std::vector<std::string> names;
  for (const pb::RunEvent& event : events) {
    if (event.event().ends_with(".delta") && !names.empty() && names.back() == event.event()) {
      continue;
    }
    names.push_back(event.event());
  }
  return names;
}

inline std::string DeltaText(const std::vector<pb::RunEvent>& events) {
  std::string text;
  for (const pb::RunEvent& event : events) text += event.message_delta().text();
  return text;
}

}  // namespace conclave::tests
