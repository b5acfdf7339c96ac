// GET /system-info: the machine under the gateway, the workers and what they carry.
#include "base/host.h"
#include "base/json.h"
#include "gateway/dialects/generation.h"
#include "gateway/dialects/utility/routes.h"

namespace conclave::gateway::utility {
namespace {

using base::JsonWriter;

void WriteHost(JsonWriter& json) {
  const base::HostInfo host = base::ReadHostInfo();
  json.Key("host");
  json.BeginObject();
  json.Key("cpu");
  json.BeginObject();
  json.Field("model", host.cpu_model);
  json.Field("threads", host.threads);
  json.Key("isa");
  json.BeginArray();
  for (const std::string& name : host.isa) json.String(name);
  json.EndArray();
  json.EndObject();
  json.Field("numa_nodes", host.numa_nodes);
  json.Field("memory_bytes", host.memory_bytes);
  json.Field("memory_available_bytes", host.memory_available_bytes);
  json.EndObject();
}

void WriteWorker(JsonWriter& json, const v1::WorkerState& worker) {
  json.BeginObject();
  json.Field("id", worker.worker_id());
  json.Field("usable", worker.serving());
  json.Field("draining", worker.draining());
  json.Key("models");
  json.BeginArray();
  for (const v1::ModelStatus& model : worker.models()) {
    json.BeginObject();
    json.Field("id", model.name());
    json.Field("state", v1::ModelStatus::State_Name(model.state()).substr(6));
    json.Field("backend", model.details().backend());
    json.Field("quantization", model.details().quantization());
    json.Field("memory_bytes", model.details().memory_bytes());
    json.Field("context_length", model.context_length());
    json.EndObject();
  }
  json.EndArray();
  const v1::WorkerLoad& load = worker.load();
  json.Field("slots", load.slots());
  json.Field("running", load.running());
  json.Field("waiting", load.waiting());
  json.Field("kv_blocks_used", load.kv_blocks_used());
  json.Field("kv_blocks_total", load.kv_blocks_total());
  json.Field("decode_tokens_per_second", load.decode_tps());
  json.Field("prefill_tokens_per_second", load.prefill_tps());
  json.EndObject();
}

std::string Encode(const Services& services, base::SteadyTime started) {
  JsonWriter json;
  json.BeginObject();
  json.Field("version", CONCLAVE_VERSION);
  json.Field("commit", services.commit);
  json.Field("uptime_seconds",
             std::chrono::duration<double>(services.clock->Now() - started).count());
  WriteHost(json);
  json.Key("workers");
  json.BeginArray();
  for (const v1::WorkerState& worker : services.models->Workers()) WriteWorker(json, worker);
  json.EndArray();
  json.Key("store");
  json.BeginObject();
  json.Field("configured", services.store != nullptr);
  json.Field("connected", services.store != nullptr && services.store->Connected());
  json.EndObject();
  json.EndObject();
  return json.Take();
}

}  // namespace

void AddSystemInfoRoutes(Router& router, const Services& services) {
  RouteOptions options;
  options.body_bytes_max = 0;
  options.admin = true;  // it tells of the machine
  router.Add(
      "GET", "/system-info",
      [&services, started = services.clock->Now()](Exchange& e) {
        return ReplyJson(e, Encode(services, started));
      },
      options);
}

}  // namespace conclave::gateway::utility
