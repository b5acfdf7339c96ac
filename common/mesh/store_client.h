// Calls to assistant-store: one method per RPC of Assistants, Threads, Runs and ModelRegistry.
// Everything is asynchronous: the callback comes exactly once, on a thread of gRPC's, and must not
// block. Nothing is retried but connecting: a call that waits for the store to come up does so
// inside its deadline.
#pragma once

#include <memory>
#include <string>

#include "conclave/v1/assistants.pb.h"
#include "conclave/v1/registrations.pb.h"
#include "conclave/v1/runs.pb.h"
#include "conclave/v1/threads.pb.h"
#include "mesh/channel.h"
#include "mesh/inference_client.h"

namespace conclave::mesh {

// Receives the events of one StreamRun; the rules of GenerateObserver.
class RunObserver {
 public:
  virtual ~RunObserver() = default;
  virtual void OnEvent(conclave::v1::RunEvent& event) = 0;
  virtual void OnDone(const absl::Status& status) = 0;
};

class RunStream : public CallHandle {
 public:
  // As GenerateCall::ReadNext.
  virtual void ReadNext() = 0;
};

// Thread-safe. Calls in flight keep what they need; the client may be destroyed before they end.
class StoreClient final {
 public:
  // `address` as OpenChannel takes it.
  static absl::StatusOr<std::unique_ptr<StoreClient>> Open(const std::string& address,
                                                           const ClientTls& tls);
  ~StoreClient();
  StoreClient(const StoreClient&) = delete;
  StoreClient& operator=(const StoreClient&) = delete;

#define CONCLAVE_STORE_CALL(Method, Request, Reply)                                             \
  std::shared_ptr<CallHandle> Method(conclave::v1::Request request, const CallOptions& options, \
                                     ReplyCallback<conclave::v1::Reply> done)

  CONCLAVE_STORE_CALL(CreateAssistant, CreateAssistantRequest, Assistant);
  CONCLAVE_STORE_CALL(GetAssistant, GetAssistantRequest, Assistant);
  CONCLAVE_STORE_CALL(ListAssistants, ListAssistantsRequest, ListAssistantsReply);
  CONCLAVE_STORE_CALL(ModifyAssistant, ModifyAssistantRequest, Assistant);
  CONCLAVE_STORE_CALL(DeleteAssistant, DeleteAssistantRequest, DeleteReply);

  CONCLAVE_STORE_CALL(CreateThread, CreateThreadRequest, Thread);
  CONCLAVE_STORE_CALL(GetThread, GetThreadRequest, Thread);
  CONCLAVE_STORE_CALL(ListThreads, ListThreadsRequest, ListThreadsReply);
  CONCLAVE_STORE_CALL(ModifyThread, ModifyThreadRequest, Thread);
  CONCLAVE_STORE_CALL(DeleteThread, DeleteThreadRequest, DeleteReply);
  CONCLAVE_STORE_CALL(CreateMessage, CreateMessageRequest, Message);
  CONCLAVE_STORE_CALL(GetMessage, GetMessageRequest, Message);
  CONCLAVE_STORE_CALL(ListMessages, ListMessagesRequest, ListMessagesReply);
  CONCLAVE_STORE_CALL(ModifyMessage, ModifyMessageRequest, Message);
  CONCLAVE_STORE_CALL(DeleteMessage, DeleteMessageRequest, DeleteReply);

  CONCLAVE_STORE_CALL(CreateRun, CreateRunRequest, Run);
  CONCLAVE_STORE_CALL(CreateThreadAndRun, CreateThreadAndRunRequest, Run);
  CONCLAVE_STORE_CALL(GetRun, GetRunRequest, Run);
  CONCLAVE_STORE_CALL(ListRuns, ListRunsRequest, ListRunsReply);
  CONCLAVE_STORE_CALL(ModifyRun, ModifyRunRequest, Run);
  CONCLAVE_STORE_CALL(CancelRun, CancelRunRequest, Run);
  CONCLAVE_STORE_CALL(SubmitToolOutputs, SubmitToolOutputsRequest, Run);
  CONCLAVE_STORE_CALL(ListRunSteps, ListRunStepsRequest, ListRunStepsReply);
  CONCLAVE_STORE_CALL(GetRunStep, GetRunStepRequest, RunStep);

  CONCLAVE_STORE_CALL(RegisterModel, RegisterModelRequest, ModelRegistration);
  CONCLAVE_STORE_CALL(GetRegistration, GetRegistrationRequest, ModelRegistration);
  CONCLAVE_STORE_CALL(ListRegistrations, ListRegistrationsRequest, ListRegistrationsReply);
  CONCLAVE_STORE_CALL(UnregisterModel, UnregisterModelRequest, DeleteReply);
#undef CONCLAVE_STORE_CALL

  // Give it a deadline that fits: a run may take its ten minutes.
  std::shared_ptr<RunStream> StreamRun(conclave::v1::StreamRunRequest request,
                                       const CallOptions& options,
                                       std::shared_ptr<RunObserver> observer);

  // Whether the channel is connected; tries to connect. For readiness probes.
  bool Connected();

 private:
  struct Impl;
  explicit StoreClient(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace conclave::mesh
