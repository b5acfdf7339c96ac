// conclave-gateway: options → app → drain.
#include <iostream>

#include "base/config.h"
#include "base/log.h"
#include "base/shutdown.h"
#include "base/strings.h"
#include "gateway/app.h"
#include "mesh/process.h"

int main(int argc, char** argv) {
  using namespace conclave;
  mesh::InitProcess();
  gateway::GatewayOptions options;
  base::OptionSet set("conclave-gateway",
                      "The REST front of conclave: OpenAI, Ollama and friends.");
  gateway::AddGatewayOptions(set, &options);
  if (const auto code = base::HandleOptions(set, argc, argv)) return *code;
  base::LogLevel level = base::LogLevel::kInfo;
  if (base::ParseLogLevel(options.log_level, &level)) base::SetLogLevel(level);

  base::Shutdown shutdown;
  auto app = gateway::App::Start(options);
  if (!app.ok()) {
    std::cerr << "conclave-gateway: " << base::Std(app.status().message()) << "\n";
    return 1;
  }
  shutdown.OnNotReady([&] { (*app)->SetDraining(); });
  shutdown.OnDrain([&](base::SteadyTime deadline) { (*app)->Drain(deadline); });
  shutdown.OnStop([&] { (*app)->Stop(); });
  return shutdown.Run({.settle = options.drain_settle, .drain = options.drain});
}
