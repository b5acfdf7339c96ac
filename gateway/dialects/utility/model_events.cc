#include "gateway/dialects/utility/model_events.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <string_view>
#include <utility>

#include "base/json.h"
#include "gateway/dialects/openai/models_codec.h"
#include "gateway/dialects/registry.h"
#include "gateway/dialects/sse.h"
#include "gateway/dialects/utility/routes.h"

namespace conclave::gateway::utility {
namespace {

using base::JsonWriter;

// How often the workers are asked: what they report by themselves is a little behind, and who has
// loaded a model is to hear of it.
constexpr std::chrono::milliseconds kLookEvery{250};

std::string DataOf(const v1::ModelStatus& model) {
  JsonWriter json;
  json.BeginObject();
  openai::WriteState(json, "status", model);
  json.EndObject();
  return json.Take();
}

void Append(const std::string& model, std::string_view event, const std::string& data,
            std::string* out) {
  JsonWriter json;
  json.BeginObject();
  json.Field("model", model);
  json.Field("event", event);
  if (!data.empty()) json.RawField("data", data);
  json.EndObject();
  AppendSse(json.Take(), out);
}

// Until the time is over, or the request.
Task<void> Pause(Exchange& exchange, std::chrono::milliseconds time) {
  boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor, time);
  exchange.out.OnCancel([&timer] { timer.cancel(); });
  co_await timer.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
  exchange.out.OnCancel(nullptr);
}

Task<void> Watch(const Services& services, Exchange& exchange) {
  ModelEvents events(co_await ModelsNow(services, exchange));
  const HeaderList headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}};
  if (!co_await exchange.out.BeginStream(200, "text/event-stream", headers)) co_return;
  base::SteadyTime written = std::chrono::steady_clock::now();
  while (exchange.out.cancel_reason() == CancelReason::kNone && !services.draining()) {
    std::string bytes = events.Since(co_await ModelsNow(services, exchange));
    const base::SteadyTime now = std::chrono::steady_clock::now();
    if (bytes.empty() && now - written >= services.times.keep_alive) bytes = ": keep-alive\n\n";
    if (!bytes.empty()) {
      if (!co_await exchange.out.Write(bytes)) break;
      written = now;
    }
    co_await Pause(exchange, kLookEvery);
  }
  const bool heard = exchange.out.cancel_reason() != CancelReason::kClientGone;
  if (heard) co_await exchange.out.EndStream();
}

}  // namespace

ModelEvents::ModelEvents(const std::vector<v1::ModelStatus>& now) { Since(now); }

std::string ModelEvents::Since(const std::vector<v1::ModelStatus>& now) {
  std::string bytes;
  std::map<std::string, std::string> gone = std::exchange(told_, {});
  for (const v1::ModelStatus& model : now) {
    const std::string data = DataOf(model);
    auto before = gone.extract(model.name());
    if (before.empty() || before.mapped() != data) {
      Append(model.name(), "model_status", data, &bytes);
    }
    told_.emplace(model.name(), data);
  }
  for (const auto& [name, data] : gone) Append(name, "model_remove", "", &bytes);
  return bytes;
}

void AddModelEventRoutes(Router& router, const Services& services) {
  RouteOptions bodiless;
  bodiless.body_bytes_max = 0;
  router.Add(
      "GET", "/models/sse", [&services](Exchange& e) { return Watch(services, e); }, bodiless);
}

}  // namespace conclave::gateway::utility
