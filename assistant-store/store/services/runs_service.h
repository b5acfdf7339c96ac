// conclave.v1.Runs over store/runs.h and run_streams.h: proto in, proto out.
#pragma once

#include "conclave/v1/runs.grpc.pb.h"
#include "store/runs.h"
#include "store/services/dispatcher.h"
#include "store/services/run_streams.h"

namespace conclave::store {

class RunsService final : public conclave::v1::Runs::CallbackService {
 public:
  RunsService(Runs& runs, Dispatcher& dispatcher, RunStreams& streams)
      : runs_(runs), dispatcher_(dispatcher), streams_(streams) {}

  grpc::ServerUnaryReactor* CreateRun(grpc::CallbackServerContext* context,
                                      const conclave::v1::CreateRunRequest* request,
                                      conclave::v1::Run* reply) override {
    return dispatcher_.Unary(context, request, reply,
                             [this](const auto& r) { return runs_.Create(r); });
  }
  grpc::ServerUnaryReactor* CreateThreadAndRun(
      grpc::CallbackServerContext* context, const conclave::v1::CreateThreadAndRunRequest* request,
      conclave::v1::Run* reply) override {
    return dispatcher_.Unary(context, request, reply,
                             [this](const auto& r) { return runs_.CreateWithThread(r); });
  }
  grpc::ServerUnaryReactor* GetRun(grpc::CallbackServerContext* context,
                                   const conclave::v1::GetRunRequest* request,
                                   conclave::v1::Run* reply) override {
    return dispatcher_.Unary(context, request, reply,
                             [this](const auto& r) { return runs_.Get(r); });
  }
  grpc::ServerUnaryReactor* ListRuns(grpc::CallbackServerContext* context,
                                     const conclave::v1::ListRunsRequest* request,
                                     conclave::v1::ListRunsReply* reply) override {
    return dispatcher_.Unary(context, request, reply,
                             [this](const auto& r) { return runs_.List(r); });
  }
  grpc::ServerUnaryReactor* ModifyRun(grpc::CallbackServerContext* context,
                                      const conclave::v1::ModifyRunRequest* request,
                                      conclave::v1::Run* reply) override {
    return dispatcher_.Unary(context, request, reply,
                             [this](const auto& r) { return runs_.Modify(r); });
  }
  grpc::ServerUnaryReactor* CancelRun(grpc::CallbackServerContext* context,
                                      const conclave::v1::CancelRunRequest* request,
                                      conclave::v1::Run* reply) override {
    return dispatcher_.Unary(context, request, reply,
                             [this](const auto& r) { return runs_.Cancel(r); });
  }
  grpc::ServerUnaryReactor* SubmitToolOutputs(grpc::CallbackServerContext* context,
                                              const conclave::v1::SubmitToolOutputsRequest* request,
                                              conclave::v1::Run* reply) override {
    return dispatcher_.Unary(context, request, reply,
                             [this](const auto& r) { return runs_.SubmitToolOutputs(r); });
  }
  grpc::ServerUnaryReactor* ListRunSteps(grpc::CallbackServerContext* context,
                                         const conclave::v1::ListRunStepsRequest* request,
                                         conclave::v1::ListRunStepsReply* reply) override {
    return dispatcher_.Unary(context, request, reply,
                             [this](const auto& r) { return runs_.ListSteps(r); });
  }
  grpc::ServerUnaryReactor* GetRunStep(grpc::CallbackServerContext* context,
                                       const conclave::v1::GetRunStepRequest* request,
                                       conclave::v1::RunStep* reply) override {
    return dispatcher_.Unary(context, request, reply,
                             [this](const auto& r) { return runs_.GetStep(r); });
  }
  grpc::ServerWriteReactor<conclave::v1::RunEvent>* StreamRun(
      grpc::CallbackServerContext* context,
      const conclave::v1::StreamRunRequest* request) override {
    return streams_.Open(context, *request);
  }

 private:
  Runs& runs_;
  Dispatcher& dispatcher_;
  RunStreams& streams_;
};

}  // namespace conclave::store
