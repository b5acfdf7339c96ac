// conclave.v1.ModelRegistry over store/registrations.h: proto in, proto out.
#pragma once

#include "conclave/v1/registrations.grpc.pb.h"
#include "store/registrations.h"
#include "store/services/dispatcher.h"

namespace conclave::store {

class RegistryService final : public conclave::v1::ModelRegistry::CallbackService {
 public:
  // `patient` answers the calls that wait for workers, so that they hold up no others.
  RegistryService(Registrations& registrations, ModelRegistrar& registrar, Dispatcher& dispatcher,
                  Dispatcher& patient)
      : registrations_(registrations),
        registrar_(registrar),
        dispatcher_(dispatcher),
        patient_(patient) {}

  grpc::ServerUnaryReactor* RegisterModel(grpc::CallbackServerContext* context,
                                          const conclave::v1::RegisterModelRequest* request,
                                          conclave::v1::ModelRegistration* reply) override {
    return patient_.Unary(context, request, reply,
                          [this](const auto& r) { return registrar_.Register(r); });
  }
  grpc::ServerUnaryReactor* GetRegistration(grpc::CallbackServerContext* context,
                                            const conclave::v1::GetRegistrationRequest* request,
                                            conclave::v1::ModelRegistration* reply) override {
    return dispatcher_.Unary(context, request, reply,
                             [this](const auto& r) { return registrations_.Get(r); });
  }
  grpc::ServerUnaryReactor* ListRegistrations(
      grpc::CallbackServerContext* context, const conclave::v1::ListRegistrationsRequest* request,
      conclave::v1::ListRegistrationsReply* reply) override {
    return dispatcher_.Unary(context, request, reply,
                             [this](const auto& r) { return registrations_.List(r); });
  }
  grpc::ServerUnaryReactor* UnregisterModel(grpc::CallbackServerContext* context,
                                            const conclave::v1::UnregisterModelRequest* request,
                                            conclave::v1::DeleteReply* reply) override {
    return patient_.Unary(context, request, reply,
                          [this](const auto& r) { return registrar_.Unregister(r); });
  }

 private:
  Registrations& registrations_;
  ModelRegistrar& registrar_;
  Dispatcher& dispatcher_;
  Dispatcher& patient_;
};

}  // namespace conclave::store
