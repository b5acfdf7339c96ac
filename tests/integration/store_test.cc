// The store's aggregates against a real PostgreSQL.
#include <catch2/catch.hpp>

#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "store/assistants.h"
#include "store/db/migrate.h"
#include "store/messages.h"
#include "store/runs.h"
#include "store/threads.h"
#include "support/test_database.h"

namespace pb = conclave::v1;
using conclave::store::Assistants;
using conclave::store::Messages;
using conclave::store::Runs;
using conclave::store::RunSignals;
using conclave::store::Threads;
using conclave::tests::TestDatabase;

namespace {

struct World {
  TestDatabase db;
  RunSignals signals;
  Assistants assistants{db.database()};
  Threads threads{db.database()};
  Messages messages{db.database()};
  Runs runs{db.database(), signals};

  std::string Assistant() {
    pb::CreateAssistantRequest request;
    request.mutable_assistant()->set_model("teacher");
    auto made = assistants.Create(request);
    REQUIRE(made.ok());
    return made->id();
  }
  std::string Thread() {
    auto made = threads.Create({});
    REQUIRE(made.ok());
    return made->id();
  }
  absl::StatusOr<pb::Message> Say(const std::string& thread, const std::string& text) {
    pb::CreateMessageRequest request;
    request.set_thread_id(thread);
    request.mutable_message()->set_role(pb::Message::ROLE_USER);
    request.mutable_message()->add_content()->mutable_text()->set_value(text);
    return messages.Create(request);
  }
  absl::StatusOr<pb::Run> Run(const std::string& thread, const std::string& assistant) {
    pb::CreateRunRequest request;
    request.set_thread_id(thread);
    request.set_assistant_id(assistant);
    return runs.Create(request);
  }
};

bool Mentions(const absl::Status& status, const std::string& text) {
  return std::string(status.message().data(), status.message().size()).find(text) !=
         std::string::npos;
}

}  // namespace

TEST_CASE("migrations run from empty, and a second time change nothing") {
  TestDatabase db;
  const std::string applied = db.Value("SELECT count(*) FROM schema_migrations");
  CHECK(applied == std::to_string(conclave::store::Migrations().size()));
  CHECK(conclave::store::Migrate(db.database()).ok());
  CHECK(db.Value("SELECT count(*) FROM schema_migrations") == applied);
}

TEST_CASE("a migration that was edited after it ran is refused") {
  TestDatabase db;
  db.Error("UPDATE schema_migrations SET checksum = 'other' WHERE version = 1").IgnoreError();
  CHECK(conclave::store::Migrate(db.database()).code() == absl::StatusCode::kFailedPrecondition);
}

TEST_CASE("a database newer than the binary is refused") {
  TestDatabase db;
  db.Error("INSERT INTO schema_migrations VALUES (999, 'future', 'x')").IgnoreError();
  CHECK(conclave::store::Migrate(db.database()).code() == absl::StatusCode::kFailedPrecondition);
}

TEST_CASE("a failing migration leaves nothing behind") {
  TestDatabase db;
  std::vector<conclave::store::Migration> all(conclave::store::Migrations().begin(),
                                              conclave::store::Migrations().end());
  const int version = static_cast<int>(all.size()) + 1;
  all.push_back({version, "bad", "CREATE TABLE half (x int); SELECT no_such_function();"});
  CHECK_FALSE(conclave::store::Migrate(db.database(), all).ok());
  CHECK(db.Value("SELECT to_regclass('half')") == "");
  all.back().sql = "CREATE TABLE half (x int);";
  CHECK(conclave::store::Migrate(db.database(), all).ok());
}

TEST_CASE("an assistant keeps every field, and only masked ones change") {
  World w;
  pb::CreateAssistantRequest request;
  pb::Assistant* a = request.mutable_assistant();
  a->set_model("teacher");
  a->set_name("Ada \xF0\x9F\xA6\x89");
  a->set_instructions("Answer in \"quotes\" and 'ticks'; \\ too.\n");
  a->set_temperature(0.7);
  a->add_tools()->mutable_function()->set_name("weather");
  a->mutable_tools(0)->mutable_function()->set_parameters_json(R"({"type":"object"})");
  (*a->mutable_metadata())["k"] = "v";
  auto made = w.assistants.Create(request);
  REQUIRE(made.ok());

  pb::GetAssistantRequest get;
  get.set_id(made->id());
  auto got = w.assistants.Get(get);
  REQUIRE(got.ok());
  CHECK(got->SerializeAsString() == made->SerializeAsString());
  CHECK(got->name() == a->name());
  CHECK(got->temperature() == 0.7);
  CHECK(got->instructions() == a->instructions());

  pb::ModifyAssistantRequest modify;
  modify.set_id(made->id());
  modify.mutable_assistant()->set_name("B");
  modify.mutable_assistant()->set_model("ignored");
  modify.add_update_mask("name");
  modify.add_update_mask("tools");
  auto modified = w.assistants.Modify(modify);
  REQUIRE(modified.ok());
  CHECK(modified->name() == "B");
  CHECK(modified->model() == "teacher");
  CHECK(modified->tools_size() == 0);
  CHECK(modified->metadata().at("k") == "v");

  pb::DeleteAssistantRequest remove;
  remove.set_id(made->id());
  CHECK(w.assistants.Delete(remove).ok());
  CHECK(w.assistants.Get(get).status().code() == absl::StatusCode::kNotFound);
  CHECK(w.assistants.Delete(remove).status().code() == absl::StatusCode::kNotFound);
}

TEST_CASE("nothing of one tenant is seen by another") {
  World w;
  const std::string assistant = w.Assistant();
  pb::GetAssistantRequest get;
  get.set_id(assistant);
  get.mutable_meta()->set_tenant("other");
  CHECK(w.assistants.Get(get).status().code() == absl::StatusCode::kNotFound);
  pb::ListAssistantsRequest list;
  list.mutable_meta()->set_tenant("other");
  auto page = w.assistants.List(list);
  REQUIRE(page.ok());
  CHECK(page->data_size() == 0);
  CHECK(page->page().first_id().empty());
  pb::DeleteAssistantRequest remove;
  remove.set_id(assistant);
  remove.mutable_meta()->set_tenant("other");
  CHECK(w.assistants.Delete(remove).status().code() == absl::StatusCode::kNotFound);
}

TEST_CASE("pages are disjoint, complete and ordered, forwards and backwards") {
  World w;
  std::vector<std::string> ids;  // oldest first
  for (int i = 0; i < 13; ++i) ids.push_back(w.Assistant());
  for (const bool ascending : {true, false}) {
    std::vector<std::string> expected = ids;
    if (!ascending) std::reverse(expected.begin(), expected.end());
    for (const int limit : {1, 4, 13, 100}) {
      pb::ListAssistantsRequest request;
      request.mutable_page()->set_limit(limit);
      request.mutable_page()->set_order(ascending ? pb::PageRequest::ORDER_ASC
                                                  : pb::PageRequest::ORDER_DESC);
      std::vector<std::string> seen;
      while (true) {
        auto page = w.assistants.List(request);
        REQUIRE(page.ok());
        for (const auto& a : page->data()) seen.push_back(a.id());
        CHECK(page->page().has_more() == (seen.size() < expected.size()));
        if (!page->page().has_more()) break;
        request.mutable_page()->set_after(page->page().last_id());
      }
      CHECK(seen == expected);

      // The page before a cursor is the one that ends right before it, in the list's order.
      request.mutable_page()->clear_after();
      request.mutable_page()->set_before(expected[6]);
      auto before = w.assistants.List(request);
      REQUIRE(before.ok());
      std::vector<std::string> got;
      for (const auto& a : before->data()) got.push_back(a.id());
      const size_t begin = limit < 6 ? 6 - static_cast<size_t>(limit) : 0;
      CHECK(got == std::vector<std::string>(expected.begin() + static_cast<long>(begin),
                                            expected.begin() + 6));
      CHECK(before->page().has_more() == (limit < 6));
    }
  }
}

TEST_CASE("a cursor that is not of the list is refused by name") {
  World w;
  pb::ListAssistantsRequest request;
  request.mutable_page()->set_after("asst_nothing");
  auto page = w.assistants.List(request);
  CHECK(page.status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(conclave::base::ParamOf(page.status()) == "after");
  request.mutable_page()->clear_after();
  request.mutable_page()->set_limit(101);
  CHECK(conclave::base::ParamOf(w.assistants.List(request).status()) == "limit");
}

TEST_CASE("messages keep the order they were added in") {
  World w;
  pb::CreateThreadRequest request;
  for (int i = 0; i < 5; ++i) {
    pb::Message* m = request.add_messages();
    m->set_role(i % 2 == 0 ? pb::Message::ROLE_USER : pb::Message::ROLE_ASSISTANT);
    m->add_content()->mutable_text()->set_value(absl::StrCat("m", i));
  }
  auto thread = w.threads.Create(request);
  REQUIRE(thread.ok());
  REQUIRE(w.Say(thread->id(), "m5").ok());
  pb::ListMessagesRequest list;
  list.set_thread_id(thread->id());
  list.mutable_page()->set_order(pb::PageRequest::ORDER_ASC);
  auto page = w.messages.List(list);
  REQUIRE(page.ok());
  REQUIRE(page->data_size() == 6);
  for (int i = 0; i < 6; ++i) {
    CHECK(page->data(i).content(0).text().value() == absl::StrCat("m", i));
  }
  CHECK(page->data(1).role() == pb::Message::ROLE_ASSISTANT);
}

TEST_CASE("a thread takes its messages and runs with it") {
  World w;
  const std::string thread = w.Thread();
  REQUIRE(w.Say(thread, "hello").ok());
  REQUIRE(w.Run(thread, w.Assistant()).ok());
  pb::DeleteThreadRequest remove;
  remove.set_id(thread);
  REQUIRE(w.threads.Delete(remove).ok());
  for (const char* table : {"messages", "runs", "run_events", "run_steps"}) {
    CHECK(w.db.Value(absl::StrCat("SELECT count(*) FROM ", table)) == "0");
  }
}

TEST_CASE("a thread has one active run, and takes no messages meanwhile") {
  World w;
  const std::string thread = w.Thread();
  const std::string assistant = w.Assistant();
  auto run = w.Run(thread, assistant);
  REQUIRE(run.ok());
  CHECK(run->status() == pb::RUN_STATUS_QUEUED);

  auto second = w.Run(thread, assistant);
  CHECK(second.status().code() == absl::StatusCode::kFailedPrecondition);
  CHECK(second.status().message() ==
        absl::StrCat("Thread ", thread, " already has an active run ", run->id(), "."));
  auto message = w.Say(thread, "hello");
  CHECK(message.status().code() == absl::StatusCode::kFailedPrecondition);
  CHECK(message.status().message() ==
        absl::StrCat("Can't add messages to ", thread, " while a run ", run->id(), " is active."));

  pb::CancelRunRequest cancel;
  cancel.set_thread_id(thread);
  cancel.set_id(run->id());
  auto cancelled = w.runs.Cancel(cancel);
  REQUIRE(cancelled.ok());
  CHECK(cancelled->status() == pb::RUN_STATUS_CANCELLED);
  CHECK(cancelled->has_cancelled_at());
  CHECK(w.Say(thread, "hello").ok());
  CHECK(w.Run(thread, assistant).ok());
}

TEST_CASE("of many runs created at once one is made") {
  World w;
  const std::string thread = w.Thread();
  const std::string assistant = w.Assistant();
  std::atomic<int> made = 0;
  std::atomic<int> refused = 0;
  {
    std::vector<std::jthread> callers;
    for (int i = 0; i < 6; ++i) {
      callers.emplace_back([&] {
        pb::CreateRunRequest request;
        request.set_thread_id(thread);
        request.set_assistant_id(assistant);
        auto run = w.runs.Create(request);
        if (run.ok()) ++made;
        if (run.status().code() == absl::StatusCode::kFailedPrecondition) ++refused;
      });
    }
  }
  CHECK(made == 1);
  CHECK(refused == 5);
}

TEST_CASE("the database refuses what the state machine does not have") {
  World w;
  const std::string thread = w.Thread();
  auto run = w.Run(thread, w.Assistant());
  REQUIRE(run.ok());
  const auto set = [&](const std::string& what) {
    return w.db.Error(absl::StrCat("UPDATE runs SET ", what, " WHERE id = '", run->id(), "'"));
  };
  CHECK(set("status = 'completed'").code() == absl::StatusCode::kFailedPrecondition);
  CHECK(set("status = 'requires_action'").code() == absl::StatusCode::kFailedPrecondition);
  CHECK_FALSE(set("status = 'nonsense'").ok());
  CHECK(set("fence = fence - 1").code() == absl::StatusCode::kFailedPrecondition);
  CHECK(set("status = 'in_progress', fence = 1").ok());
  CHECK(set("status = 'completed'").ok());
  CHECK(set("status = 'in_progress'").code() == absl::StatusCode::kFailedPrecondition);
  CHECK(set("outcome = '{\"incomplete_reason\": \"x\"}'").code() ==
        absl::StatusCode::kFailedPrecondition);
  CHECK(set("metadata = '{\"a\": \"b\"}'").ok());
}

TEST_CASE("a run takes from its assistant what the request does not give") {
  World w;
  pb::CreateAssistantRequest create;
  create.mutable_assistant()->set_model("teacher");
  create.mutable_assistant()->set_instructions("Be brief.");
  create.mutable_assistant()->set_temperature(0.2);
  create.mutable_assistant()->add_tools()->mutable_function()->set_name("f");
  auto assistant = w.assistants.Create(create);
  REQUIRE(assistant.ok());
  pb::CreateRunRequest request;
  request.set_thread_id(w.Thread());
  request.set_assistant_id(assistant->id());
  request.set_additional_instructions("In verse.");
  request.set_tools_given(true);
  pb::Message* extra = request.add_additional_messages();
  extra->set_role(pb::Message::ROLE_USER);
  extra->add_content()->mutable_text()->set_value("one more");
  auto run = w.runs.Create(request);
  REQUIRE(run.ok());
  CHECK(run->instructions() == "Be brief.\nIn verse.");
  CHECK(run->temperature() == 0.2);
  CHECK(run->tools_size() == 0);
  CHECK(run->model() == "teacher");
  CHECK(run->truncation_strategy().type() == "auto");
  CHECK(run->parallel_tool_calls());
  CHECK(run->expires_at() - run->created_at() == 600);
  CHECK(run->event_seq() == 0);
  CHECK(w.db.Value("SELECT count(*) FROM messages") == "1");

  auto events = w.runs.ReadEvents("default", run->thread_id(), run->id(), 0, 100);
  REQUIRE(events.ok());
  REQUIRE(events->events.size() == 2);
  CHECK(events->events[0].event() == "thread.run.created");
  CHECK(events->events[0].seq() == 1);
  CHECK(events->events[1].event() == "thread.run.queued");
  CHECK(events->events[1].run().status() == pb::RUN_STATUS_QUEUED);
  CHECK_FALSE(events->at_end);
}

TEST_CASE("a thread and a run made together are told together") {
  World w;
  pb::CreateThreadAndRunRequest request;
  request.mutable_run()->set_assistant_id(w.Assistant());
  pb::Message* m = request.mutable_thread()->add_messages();
  m->set_role(pb::Message::ROLE_USER);
  m->add_content()->mutable_text()->set_value("hi");
  auto run = w.runs.CreateWithThread(request);
  REQUIRE(run.ok());
  auto events = w.runs.ReadEvents("default", run->thread_id(), run->id(), 0, 100);
  REQUIRE(events.ok());
  REQUIRE(events->events.size() == 3);
  CHECK(events->events[0].event() == "thread.created");
  CHECK(events->events[0].thread().id() == run->thread_id());

  // When the assistant is missing there is no thread either.
  request.mutable_run()->set_assistant_id("asst_missing");
  CHECK(w.runs.CreateWithThread(request).status().code() == absl::StatusCode::kNotFound);
  CHECK(w.db.Value("SELECT count(*) FROM threads") == "1");
}

TEST_CASE("calls fail fast while PostgreSQL is away, and work again when it is back") {
  World w;
  const std::string thread = w.Thread();
  REQUIRE(w.Say(thread, "before").ok());
  int acknowledged = 1;
  TestDatabase::Control("kill");
  // The children of a killed postmaster live on for a moment and may still do their work.
  absl::Status refused;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (refused.ok() && std::chrono::steady_clock::now() < deadline) {
    const auto start = std::chrono::steady_clock::now();
    refused = w.Say(thread, "meanwhile").status();
    CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(5));
    if (refused.ok()) ++acknowledged;
  }
  CHECK(refused.code() == absl::StatusCode::kUnavailable);
  TestDatabase::Control("start");
  CHECK(w.Say(thread, "after").ok());
  ++acknowledged;
  // Counted in the table, as a page of messages has a limit. The refused one may be there: a
  // connection that dies at COMMIT leaves its outcome unknown.
  const int kept = std::stoi(w.db.Value("SELECT count(*) FROM messages"));
  CHECK(kept >= acknowledged);
  CHECK(kept <= acknowledged + 1);
}

TEST_CASE("an error in the body rolls back, and is not mistaken for a retry") {
  World w;
  int calls = 0;
  const absl::Status status =
      w.db.database().Transact("test", [&](conclave::store::Transaction& tx) -> absl::Status {
        ++calls;
        (void)tx.Execute("INSERT INTO threads (tenant_id, id, body) VALUES ('t', 'x', '{}')");
        return conclave::base::InvalidArgument("no");
      });
  CHECK(Mentions(status, "no"));
  CHECK(calls == 1);
  CHECK(w.db.Value("SELECT count(*) FROM threads") == "0");
}

TEST_CASE("a transaction whose connection dies before COMMIT is run again, once") {
  World w;
  int calls = 0;
  const absl::Status status =
      w.db.database().Transact("test", [&](conclave::store::Transaction& tx) -> absl::Status {
        ++calls;
        auto inserted =
            tx.Execute("INSERT INTO threads (tenant_id, id, body) VALUES ('t', 'x', '{}')");
        if (!inserted.ok()) return inserted.status();
        if (calls == 1) return tx.Execute("SELECT pg_terminate_backend(pg_backend_pid())").status();
        return absl::OkStatus();
      });
  CHECK(status.ok());
  CHECK(calls == 2);
  CHECK(w.db.Value("SELECT count(*) FROM threads") == "1");
}

TEST_CASE("a failed statement that the body ignores is not committed") {
  World w;
  const absl::Status status =
      w.db.database().Transact("test", [&](conclave::store::Transaction& tx) -> absl::Status {
        (void)tx.Execute("INSERT INTO threads (tenant_id, id, body) VALUES ('t', 'x', 'not json')");
        return absl::OkStatus();
      });
  CHECK(status.code() == absl::StatusCode::kInternal);
  CHECK(w.db.Value("SELECT count(*) FROM threads") == "0");
  CHECK(w.threads.Create({}).ok());
}
