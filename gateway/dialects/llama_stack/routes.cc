#include "gateway/dialects/llama_stack/routes.h"

#include "gateway/dialects/llama_stack/errors.h"
#include "gateway/dialects/openai/routes.h"

namespace conclave::gateway::llama_stack {
namespace {

// Paths whose errors are Llama Stack's, each with and without /v1.
constexpr std::string_view kOurs[] = {"/batch_inference", "/inference", "/inspect", "/providers",
                                      "/routes"};
// Under /v1 these are names of models.
constexpr std::string_view kVerbs[] = {"/models/get", "/models/list", "/models/register",
                                       "/models/unregister"};

// Known and not served, with all below. /alpha is the rest of that wire, /v1alpha and /v1beta of
// the newest clients'.
constexpr Unserved kUnserved[] = {
    {"/alpha"},
    {"/v1alpha"},
    {"/v1beta"},
    {"/agents"},
    {"/benchmarks"},
    {"/datasetio"},
    {"/datasets"},
    {"/eval"},
    {"/eval_tasks"},
    {"/evaluate"},
    {"/evaluation"},
    {"/memory"},
    {"/memory_banks"},
    {"/post-training"},
    {"/post_training"},
    {"/reward_scoring"},
    {"/safety"},
    {"/scoring"},
    {"/scoring-functions"},
    {"/scoring_functions"},
    {"/shields"},
    {"/synthetic-data-generation"},
    {"/synthetic_data_generation"},
    {"/telemetry"},
    {"/tool-runtime"},
    {"/toolgroups"},
    {"/tools"},
    {"/vector-dbs"},
    {"/vector-io"},
};

void SetErrorFamily(Router& router, std::string_view path) {
  router.SetErrorFamily(std::string(path), ErrorJson);
  router.SetErrorFamily("/v1" + std::string(path), ErrorJson);
}

}  // namespace

void AddRoutes(Router& router, const Services& services) {
  for (const std::string_view path : kOurs) SetErrorFamily(router, path);
  for (const std::string_view path : kVerbs) router.SetErrorFamily(std::string(path), ErrorJson);
  // Registering is Llama Stack's; the rest of the path is the OpenAI dialect's.
  for (const char* const path : {"/v1/models", "/models"}) {
    router.SetErrorFamilyOf("POST", path, ErrorJson);
  }
  AddOpenAiAliases(router);
  AddInferenceRoutes(router, services);
  AddModelRoutes(router, services);
  AddInspectRoutes(router, services);
  for (const Unserved& family : kUnserved) {
    SetErrorFamily(router, family.path);
    openai::AddUnserved(router, family.path, ErrorJson);
  }
}

std::span<const Unserved> UnservedFamilies() { return kUnserved; }

}  // namespace conclave::gateway::llama_stack
