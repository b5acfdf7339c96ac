#include "mesh/stream_ledger.h"

#include <catch2/catch.hpp>

namespace conclave::mesh {
namespace {

namespace pb = conclave::v1;
using Verdict = StreamLedger::Verdict;

pb::GenerateRequest Request(int n) {
  pb::GenerateRequest request;
  request.set_n(n);
  return request;
}

pb::GenerateEvent Accepted(const std::string& revision = "r1", uint64_t seed = 42,
                           uint64_t epoch = 1) {
  pb::GenerateEvent event;
  event.mutable_accepted()->set_model_revision(revision);
  event.mutable_accepted()->set_seed(seed);
  event.mutable_accepted()->set_epoch(epoch);
  return event;
}

pb::GenerateEvent Delta(int64_t seq, std::vector<int32_t> ids = {}) {
  pb::GenerateEvent event;
  event.mutable_delta()->set_seq(seq);
  for (const int32_t id : ids) event.mutable_delta()->add_token_ids(id);
  return event;
}

pb::GenerateEvent Finished(int index) {
  pb::GenerateEvent event;
  event.mutable_finished()->set_index(index);
  return event;
}

}  // namespace

TEST_CASE("an unbroken stream is delivered as it comes") {
  StreamLedger ledger(Request(1));
  CHECK_FALSE(ledger.begun());
  CHECK(ledger.Enter(Accepted()) == Verdict::kDeliver);
  CHECK(ledger.begun());
  CHECK(ledger.Enter(Delta(0, {5, 6})) == Verdict::kDeliver);
  CHECK(ledger.Enter(Delta(1)) == Verdict::kDeliver);
  CHECK_FALSE(ledger.complete());
  CHECK(ledger.Enter(Finished(0)) == Verdict::kDeliver);
  CHECK(ledger.complete());
}

TEST_CASE("the state to resume from holds the ids, the told seed and the next number") {
  StreamLedger ledger(Request(1));
  ledger.Enter(Accepted("r1", 99));
  ledger.Enter(Delta(0, {5, 6}));
  ledger.Enter(Delta(1, {7}));
  const pb::ResumeState state = ledger.Resume();
  CHECK(std::vector<int>(state.emitted_token_ids().begin(), state.emitted_token_ids().end()) ==
        std::vector<int>{5, 6, 7});
  CHECK(state.seed() == 99);
  CHECK(state.next_seq() == 2);
}

TEST_CASE("after a resume the second acceptance and repeated deltas are dropped") {
  StreamLedger ledger(Request(1));
  ledger.Enter(Accepted("r1", 42, 1));
  ledger.Enter(Delta(0, {5}));
  ledger.Enter(Delta(1, {6}));
  CHECK(ledger.Enter(Accepted("r1", 42, 2)) == Verdict::kDrop);
  CHECK(ledger.epoch() == 2);
  CHECK(ledger.Enter(Delta(1, {6})) == Verdict::kDrop);
  CHECK(ledger.Enter(Delta(2, {7})) == Verdict::kDeliver);
  CHECK(ledger.Resume().emitted_token_ids_size() == 3);
}

TEST_CASE("what cannot be is refused rather than passed on") {
  StreamLedger ledger(Request(2));
  CHECK(ledger.Enter(Delta(0)) == Verdict::kBroken);
  ledger.Enter(Accepted());
  CHECK(ledger.Enter(Delta(1)) == Verdict::kBroken);
  CHECK(ledger.error().code() == absl::StatusCode::kInternal);
  CHECK(ledger.Enter(Accepted("r2")) == Verdict::kBroken);
  CHECK(ledger.Enter(Finished(2)) == Verdict::kBroken);
  CHECK(ledger.Enter(Finished(-1)) == Verdict::kBroken);
}

TEST_CASE("several answers complete when each has finished") {
  StreamLedger ledger(Request(2));
  ledger.Enter(Accepted());
  CHECK(ledger.Enter(Finished(1)) == Verdict::kDeliver);
  CHECK(ledger.Enter(Finished(1)) == Verdict::kDrop);
  CHECK_FALSE(ledger.complete());
  ledger.Enter(Finished(0));
  CHECK(ledger.complete());
}

TEST_CASE("of several answers each is resumed from what was delivered of it") {
  const auto of = [](int index, pb::GenerateEvent event) {
    event.mutable_delta()->set_index(index);
    return event;
  };
  StreamLedger ledger(Request(3));
  ledger.Enter(Accepted("r1", 7));
  ledger.Enter(of(0, Delta(0, {5})));
  ledger.Enter(of(2, Delta(1, {6, 7})));
  ledger.Enter(of(0, Delta(2)));
  ledger.Enter(Finished(2));
  CHECK(ledger.Enter(of(3, Delta(3, {1}))) == Verdict::kBroken);
  pb::GenerateRequest again = Request(3);
  *again.mutable_resume() = ledger.Resume();
  const pb::ResumeState& state = again.resume();
  CHECK(state.seed() == 7);
  CHECK(state.next_seq() == 3);
  CHECK(state.emitted_token_ids().empty());
  REQUIRE(state.answers_size() == 3);
  CHECK(state.answers(0).emitted_token_ids_size() == 1);
  CHECK(state.answers(0).num_deltas() == 2);
  CHECK_FALSE(state.answers(0).finished());
  CHECK(state.answers(1).num_deltas() == 0);
  CHECK(state.answers(2).emitted_token_ids_size() == 2);
  CHECK(state.answers(2).finished());
  // A caller that goes on from there.
  StreamLedger next(again);
  next.Enter(Accepted("r1", 7));
  CHECK(next.Enter(of(1, Delta(3, {8}))) == Verdict::kDeliver);
  CHECK(next.Enter(Finished(2)) == Verdict::kDrop);
  CHECK(next.Resume().answers(1).emitted_token_ids(0) == 8);
  CHECK(next.Resume().answers(2).num_deltas() == 1);
  next.Enter(Finished(0));
  next.Enter(Finished(1));
  CHECK(next.complete());
}

TEST_CASE("a caller that takes a stream up itself is continued from there") {
  pb::GenerateRequest request;
  request.mutable_resume()->set_next_seq(3);
  request.mutable_resume()->set_seed(9);
  for (const int id : {1, 2, 3}) request.mutable_resume()->add_emitted_token_ids(id);
  StreamLedger ledger(request);
  ledger.Enter(Accepted("r1", 9));
  CHECK(ledger.Enter(Delta(2, {3})) == Verdict::kDrop);
  CHECK(ledger.Enter(Delta(3, {4})) == Verdict::kDeliver);
  CHECK(ledger.Resume().emitted_token_ids_size() == 4);
  CHECK(ledger.Resume().next_seq() == 4);
}

TEST_CASE("a worker that cancels what nobody cancelled is a lost one") {
  StreamLedger ledger(Request(1));
  ledger.Enter(Accepted());
  pb::GenerateEvent event = Finished(0);
  event.mutable_finished()->set_reason(pb::Finished::REASON_CANCELLED);
  CHECK(ledger.Enter(event) == Verdict::kFailed);
  CHECK(absl::IsUnavailable(ledger.error()));
  CHECK_FALSE(ledger.complete());
}

TEST_CASE("a failure carries its details") {
  StreamLedger ledger(Request(0));
  pb::GenerateEvent event;
  event.mutable_failed()->mutable_error()->set_code(8);
  event.mutable_failed()->mutable_error()->set_reason("kv_full");
  CHECK(ledger.Enter(event) == Verdict::kFailed);
  CHECK(absl::IsResourceExhausted(ledger.error()));
  CHECK(base::ReasonOf(ledger.error()) == "kv_full");
}

TEST_CASE("the tokens of a prompt come once and without a gap") {
  const auto piece = [](int position, int count) {
    pb::GenerateEvent event;
    event.mutable_prompt_logprobs()->set_position(position);
    for (int i = 0; i < count; ++i) event.mutable_prompt_logprobs()->add_tokens();
    return event;
  };
  StreamLedger ledger(Request(1));
  CHECK(ledger.Enter(piece(0, 1)) == Verdict::kBroken);  // before accepted
  ledger.Enter(Accepted());
  CHECK(ledger.Enter(piece(0, 128)) == Verdict::kDeliver);
  CHECK(ledger.Enter(piece(0, 128)) == Verdict::kDrop);  // another worker begins anew
  CHECK(ledger.Enter(piece(128, 7)) == Verdict::kDeliver);
  CHECK(ledger.Enter(piece(200, 1)) == Verdict::kBroken);
}

}  // namespace conclave::mesh
