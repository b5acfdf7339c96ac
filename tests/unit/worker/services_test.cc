// The services as a caller sees them, refusals above all.
#include <catch2/catch.hpp>

#include "base/status.h"
#include "conclave/v1/blobs.grpc.pb.h"
#include "conclave/v1/common.pb.h"
#include "conclave/v1/models.grpc.pb.h"
#include "conclave/v1/slots.grpc.pb.h"
#include "mesh/grpc_status.h"
#include "support/generate_client.h"
#include "support/scripted_worker.h"

namespace conclave::tests {
namespace {

namespace pb = conclave::v1;

// The whole status of a call that must fail, details included.
absl::Status Refusal(const ScriptedWorker& worker, const pb::GenerateRequest& request) {
  const auto stub = pb::Inference::NewStub(ConnectTo(worker.address()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  const auto reader = stub->Generate(&context, request);
  pb::GenerateEvent event;
  CHECK_FALSE(reader->Read(&event));
  return mesh::FromGrpc(reader->Finish(), &context);
}

}  // namespace

TEST_CASE("accepted tells who answers and with which seed") {
  const ScriptedWorker worker(R"({"rules": [{"mode": "dice", "count": 5}]})");
  const auto channel = ConnectTo(worker.address());
  pb::GenerateRequest request = UserSays("x");
  const Answer first = Ask(channel, request);
  REQUIRE(first.status.ok());
  const pb::Accepted& accepted = first.events.front().accepted();
  CHECK(accepted.worker_id() == "scripted-worker");
  CHECK(accepted.epoch() != 0);
  CHECK(accepted.model() == "scripted");
  CHECK(accepted.model_revision().size() == 16);
  CHECK(accepted.prompt_tokens() == 8);
  request.mutable_sampling()->set_seed(accepted.seed());
  const Answer again = Ask(channel, request);
  CHECK(again.text() == first.text());
  CHECK(again.events.front().accepted().seed() == accepted.seed());
}

TEST_CASE("a stream taken up again over the wire continues without gap or repetition") {
  const ScriptedWorker worker(R"({"rules": [{"mode": "dice", "count": 30}]})");
  const auto channel = ConnectTo(worker.address());
  const Answer whole = Ask(channel, UserSays("x"));
  const size_t cut = whole.events.size() / 2;
  pb::GenerateRequest request = UserSays("x");
  pb::ResumeState* resume = request.mutable_resume();
  std::string text;
  for (size_t i = 0; i < cut; ++i) {
    const pb::GenerateEvent& event = whole.events[i];
    if (event.has_accepted()) resume->set_seed(event.accepted().seed());
    if (!event.has_delta()) continue;
    resume->mutable_emitted_token_ids()->MergeFrom(event.delta().token_ids());
    resume->set_next_seq(event.delta().seq() + 1);
    text += event.delta().text();
  }
  const Answer rest = Ask(channel, request);
  CHECK(text + rest.text() == whole.text());
  for (const auto& event : rest.events) {
    if (!event.has_delta()) continue;
    CHECK(event.delta().seq() == resume->next_seq());
    break;
  }
}

TEST_CASE("refusals carry code, reason and parameter in the trailer") {
  const ScriptedWorker worker(R"({"context_length": 20})");
  const absl::Status unknown = Refusal(worker, UserSays("x", "nobody"));
  CHECK(unknown.code() == absl::StatusCode::kNotFound);
  CHECK(base::ReasonOf(unknown) == "model_not_found");
  CHECK(base::ParamOf(unknown) == "model");
  const absl::Status longer = Refusal(worker, UserSays("a prompt that is too long"));
  CHECK(longer.code() == absl::StatusCode::kOutOfRange);
  CHECK(base::ReasonOf(longer) == "context_length_exceeded");
  pb::GenerateRequest hot = UserSays("x");
  hot.mutable_sampling()->set_temperature(9);
  const absl::Status range = Refusal(worker, hot);
  CHECK(range.code() == absl::StatusCode::kInvalidArgument);
  CHECK(base::ParamOf(range) == "temperature");
}

TEST_CASE("a full queue says when to come back") {
  const ScriptedWorker worker(
      R"({"slots": 1, "max_queued": 0, "rules": [{"steps": [{"text": "a"}, {"hang": true}]}]})");
  const auto stub = pb::Inference::NewStub(ConnectTo(worker.address()));
  grpc::ClientContext context;
  const auto first = stub->Generate(&context, UserSays("x"));
  pb::GenerateEvent event;
  REQUIRE(first->Read(&event));
  const absl::Status full = Refusal(worker, UserSays("y"));
  CHECK(full.code() == absl::StatusCode::kResourceExhausted);
  CHECK(base::RetryAfterOf(full) >= std::chrono::seconds(1));
  context.TryCancel();
  first->Finish();
}

TEST_CASE("a failure after the first event is an event, and the call itself ends well") {
  const ScriptedWorker worker(R"({"rules": [{"steps": [{"text": "a"},
      {"fail": {"code": "INTERNAL", "reason": "broken", "message": "no luck"}}]}]})");
  const Answer answer = Ask(ConnectTo(worker.address()), UserSays("x"));
  CHECK(answer.status.ok());
  REQUIRE(answer.events.back().has_failed());
  CHECK(answer.events.back().failed().error().reason() == "broken");
  CHECK(answer.num_finished() == 0);
}

TEST_CASE("where experts lie is asked by model, and a model without them says nothing of them") {
  const ScriptedWorker worker("{}");
  const auto stub = pb::Worker::NewStub(ConnectTo(worker.address()));
  pb::GetExpertsRequest request;
  request.set_name("scripted");
  pb::GetExpertsReply reply;
  grpc::ClientContext context;
  REQUIRE(stub->GetExperts(&context, request, &reply).ok());
  REQUIRE(reply.placements_size() == 1);
  CHECK_FALSE(reply.placements(0).worker_id().empty());
  CHECK(reply.placements(0).layers_size() == 0);
  request.set_name("nobody");
  grpc::ClientContext other;
  CHECK(stub->GetExperts(&other, request, &reply).error_code() == grpc::StatusCode::NOT_FOUND);
}

TEST_CASE("slots are counted for each model by itself") {
  ScriptedWorker worker(R"({"slots": 2, "rules": [{"steps": [{"text": "a"}, {"hang": true}]}]})");
  worker.Add("other", R"({"slots": 7})");
  const auto channel = ConnectTo(worker.address());
  const auto stub = pb::Slots::NewStub(channel);
  const auto count = [&](const std::string& model) {
    grpc::ClientContext context;
    pb::CountSlotsRequest request;
    request.set_model(model);
    pb::CountSlotsReply reply;
    const grpc::Status status = stub->CountSlots(&context, request, &reply);
    return status.ok() ? reply.ShortDebugString() : std::to_string(status.error_code());
  };
  CHECK(count("scripted") == "total: 2");
  CHECK(count("other") == "total: 7");
  CHECK(count("nobody") == std::to_string(grpc::StatusCode::NOT_FOUND));

  grpc::ClientContext context;
  const auto running = pb::Inference::NewStub(channel)->Generate(&context, UserSays("x"));
  pb::GenerateEvent event;
  while (!event.has_delta()) REQUIRE(running->Read(&event));
  CHECK(count("scripted") == "total: 2 busy: 1");
  CHECK(count("other") == "total: 7");
  context.TryCancel();
}

TEST_CASE("a worker that takes no files collects none") {
  const ScriptedWorker worker("{}");
  const auto stub = pb::Blobs::NewStub(ConnectTo(worker.address()));
  grpc::ClientContext context;
  pb::CollectBlobsReply reply;
  const grpc::Status status = stub->CollectBlobs(&context, {}, &reply);
  CHECK(base::ReasonOf(mesh::FromGrpc(status, &context)) == "no_blob_folder");
}

TEST_CASE("text goes to ids and back through the service") {
  const ScriptedWorker worker("{}");
  const auto stub = pb::Inference::NewStub(ConnectTo(worker.address()));
  pb::TokenizeRequest request;
  request.set_model("scripted");
  request.set_text("hé");
  pb::TokenizeReply reply;
  {
    grpc::ClientContext context;
    REQUIRE(stub->Tokenize(&context, request, &reply).ok());
  }
  CHECK(reply.token_ids_size() == 2);
  CHECK(reply.pieces(1) == "é");
  CHECK(reply.context_length() == 32'768);
  pb::DetokenizeRequest back;
  back.set_model("scripted");
  *back.mutable_token_ids() = reply.token_ids();
  pb::DetokenizeReply text;
  {
    grpc::ClientContext context;
    REQUIRE(stub->Detokenize(&context, back, &text).ok());
  }
  CHECK(text.text() == "hé");
  back.add_token_ids(-5);
  grpc::ClientContext context;
  CHECK(stub->Detokenize(&context, back, &text).error_code() == grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_CASE("what is watched has the details that lists show, not the long ones") {
  const ScriptedWorker worker("{}");
  const auto stub = pb::Worker::NewStub(ConnectTo(worker.address()));
  grpc::ClientContext context;
  const auto watch = stub->Watch(&context, pb::WatchRequest());
  pb::WorkerState state;
  REQUIRE(watch->Read(&state));
  context.TryCancel();
  REQUIRE(state.models_size() == 1);
  CHECK(state.models(0).details().format() == "script");
  CHECK(state.models(0).details().size_bytes() == 2);
  CHECK(state.models(0).details().backend() == "added");
}

TEST_CASE("models are listed, refused and unloaded over the wire") {
  ScriptedWorker worker("{}");
  worker.Add("second", R"({"aliases": ["zweites"]})");
  const auto stub = pb::Worker::NewStub(ConnectTo(worker.address()));
  pb::ListModelsReply list;
  {
    grpc::ClientContext context;
    pb::ListModelsRequest request;
    request.set_with_details(true);
    REQUIRE(stub->ListModels(&context, request, &list).ok());
  }
  REQUIRE(list.models_size() == 2);
  CHECK(list.models(1).aliases(0) == "zweites");
  CHECK(list.models(0).details().format() == "script");
  CHECK(list.models(0).capabilities(0) == "completion");

  pb::LoadModelRequest load;
  load.set_name("third");
  load.set_path("/etc/passwd");
  {
    grpc::ClientContext context;
    const auto reader = stub->LoadModel(&context, load);
    pb::LoadModelProgress progress;
    CHECK_FALSE(reader->Read(&progress));
    CHECK(reader->Finish().error_code() == grpc::StatusCode::PERMISSION_DENIED);
  }
  {
    grpc::ClientContext context;
    pb::UnloadModelRequest request;
    request.set_name("second");
    pb::UnloadModelReply reply;
    CHECK(stub->UnloadModel(&context, request, &reply).ok());
  }
  {
    grpc::ClientContext context;
    REQUIRE(stub->ListModels(&context, pb::ListModelsRequest(), &list).ok());
  }
  CHECK(list.models_size() == 1);
}

namespace {

// One unary call.
template <typename Reply, typename Stub, typename Method, typename Request>
Reply Ask(Stub& stub, Method method, const Request& request,
          grpc::StatusCode expected = grpc::StatusCode::OK) {
  grpc::ClientContext context;
  Reply reply;
  const grpc::Status status = (stub.*method)(&context, request, &reply);
  INFO(status.error_message());
  CHECK(status.error_code() == expected);
  return reply;
}

}  // namespace

TEST_CASE("a provider's model is loaded, predicts, keeps a log and goes again, over the wire") {
  worker::WorkerOptions options;
  options.server.listen = "127.0.0.1:0";
  options.host.providers = *worker::ProviderSet::Parse(R"({"providers":{"inference":[
    {"provider_id":"programs","provider_type":"subprocess","config":{"models":{
      "cat":{"argv":["/bin/sh","-c","echo started >&2; exec cat"]},
      "none":{"argv":["/nowhere/x"]}}}}]}})");
  worker::Worker server(options);
  REQUIRE(server.Start().ok());
  const auto channel = ConnectTo("127.0.0.1:" + std::to_string(server.port()));
  const auto models = pb::Worker::NewStub(channel);
  const auto inference = pb::Inference::NewStub(channel);

  const auto load = [&](const std::string& name, const std::string& provider, const std::string& id,
                        const std::string& path = "") {
    pb::LoadModelRequest request;
    request.set_name(name);
    request.set_provider_id(provider);
    request.set_provider_model_id(id);
    request.set_path(path);
    grpc::ClientContext context;
    const auto reader = models->LoadModel(&context, request);
    pb::LoadModelProgress progress;
    while (reader->Read(&progress)) continue;
    return reader->Finish();
  };
  CHECK(load("echo", "programs", "cat").ok());
  CHECK(load("x", "nobody", "cat").error_code() == grpc::StatusCode::NOT_FOUND);
  CHECK(load("x", "programs", "/bin/id").error_code() == grpc::StatusCode::NOT_FOUND);
  CHECK(load("x", "programs", "cat", "/bin/id").error_code() == grpc::StatusCode::INVALID_ARGUMENT);
  CHECK(load("../x", "programs", "cat").error_code() == grpc::StatusCode::INVALID_ARGUMENT);
  const grpc::Status missing = load("x", "programs", "none");
  CHECK(missing.error_code() == grpc::StatusCode::FAILED_PRECONDITION);
  CHECK(missing.error_message() == "/nowhere/x: No such file or directory");

  const auto providers = Ask<pb::ListProvidersReply>(*models, &pb::Worker::Stub::ListProviders,
                                                     pb::ListProvidersRequest());
  REQUIRE(providers.providers_size() == 2);
  CHECK(providers.providers(0).provider_type() == "inline::conclave");
  CHECK(providers.providers(1).provider_id() == "programs");
  CHECK(providers.providers(1).health() == pb::Provider::HEALTH_OK);
  CHECK(providers.providers(1).models_size() == 2);
  const auto list =
      Ask<pb::ListModelsReply>(*models, &pb::Worker::Stub::ListModels, pb::ListModelsRequest());
  CHECK(list.models(0).details().backend() == "subprocess");
  CHECK(list.models(0).details().provider_id() == "programs");
  CHECK(list.models(0).details().provider_model_id() == "cat");

  pb::PredictRequest predict;
  predict.set_model("echo");
  predict.set_body_json("{\n\"a\": \"secret\"}");
  CHECK(Ask<pb::PredictReply>(*inference, &pb::Inference::Stub::Predict, predict).body_json() ==
        "{\"a\":\"secret\"}");
  predict.set_body_json("{");
  Ask<pb::PredictReply>(*inference, &pb::Inference::Stub::Predict, predict,
                        grpc::StatusCode::INVALID_ARGUMENT);
  predict.set_model("nobody");
  Ask<pb::PredictReply>(*inference, &pb::Inference::Stub::Predict, predict,
                        grpc::StatusCode::NOT_FOUND);

  pb::GetModelLogsRequest ask;
  ask.set_name("echo");
  const auto logs = Ask<pb::GetModelLogsReply>(*models, &pb::Worker::Stub::GetModelLogs, ask);
  std::string messages;
  for (const pb::LogEntry& entry : logs.entries()) messages += entry.msg() + ";";
  for (const char* part : {"process started;", "loaded;", "started;", "predict;"}) {
    CAPTURE(part, messages);
    CHECK(messages.find(part) != std::string::npos);
  }
  CHECK(logs.DebugString().find("secret") == std::string::npos);
  CHECK(logs.entries(0).ts_unix_ms() > 0);
  pb::ClearModelLogsRequest clear;
  clear.set_name("echo");
  CHECK(Ask<pb::ClearModelLogsReply>(*models, &pb::Worker::Stub::ClearModelLogs, clear).cleared() ==
        logs.entries_size());
  CHECK(Ask<pb::GetModelLogsReply>(*models, &pb::Worker::Stub::GetModelLogs, ask).entries_size() ==
        0);
  ask.set_name("nobody");
  Ask<pb::GetModelLogsReply>(*models, &pb::Worker::Stub::GetModelLogs, ask,
                             grpc::StatusCode::NOT_FOUND);

  pb::UnloadModelRequest unload;
  unload.set_name("echo");
  Ask<pb::UnloadModelReply>(*models, &pb::Worker::Stub::UnloadModel, unload);
  server.Stop();
}

TEST_CASE("a model that generates does not predict, and keeps no prompt in its log") {
  const ScriptedWorker worker("{}");
  const auto channel = ConnectTo(worker.address());
  const auto inference = pb::Inference::NewStub(channel);
  pb::PredictRequest predict;
  predict.set_model("scripted");
  predict.set_body_json("{}");
  Ask<pb::PredictReply>(*inference, &pb::Inference::Stub::Predict, predict,
                        grpc::StatusCode::UNIMPLEMENTED);
  {
    pb::GenerateRequest request;
    request.set_model("scripted");
    request.set_text("a prompt of mine");
    request.mutable_meta()->set_request_id("req_1");
    grpc::ClientContext context;
    const auto reader = inference->Generate(&context, request);
    pb::GenerateEvent event;
    while (reader->Read(&event)) continue;
    REQUIRE(reader->Finish().ok());
  }
  pb::GetModelLogsRequest ask;
  ask.set_name("scripted");
  const auto models = pb::Worker::NewStub(channel);
  const auto logs = Ask<pb::GetModelLogsReply>(*models, &pb::Worker::Stub::GetModelLogs, ask);
  const pb::LogEntry& last = logs.entries(logs.entries_size() - 1);
  CHECK(last.msg() == "request finished");
  CHECK(last.fields().at("request") == "\"req_1\"");
  CHECK(logs.DebugString().find("prompt of mine") == std::string::npos);
}

}  // namespace conclave::tests
