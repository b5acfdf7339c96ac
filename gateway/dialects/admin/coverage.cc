#include "gateway/dialects/coverage.h"

#include "gateway/dialects/admin/routes.h"

namespace conclave::gateway::admin {
namespace {

using enum Treatment;
using namespace schema;  // NOLINT(google-build-using-namespace): names of nothing but schemas

constexpr auto kRegister = std::to_array<Parameter>({
    {"name", kHonoured, kString, R"("other")", {}, {}, true},
    {"aliases", kHonoured, kStrings, R"(["b"])"},
    {"path", kHonoured, kString, R"("other.gguf")", "below a --model-dir of the workers"},
    {"backend", kHonoured, kString, R"("native")", "of a path"},
    {"provider_id", kHonoured, kString, R"("web")", "instead of a path"},
    {"provider_model_id", kHonoured, kString, R"("remote-name")", "the name when not given"},
    {"config", kHonoured, kObject, R"({"a":1})", "of a provider's model"},
    {"derived", kHonoured, kObject, R"({"base":"teacher"})",
     "what is said of the model in advance"},
    {"derived.base", kHonoured, kString, R"("teacher")", "instead of a path or a provider"},
    {"derived.system", kHonoured, kString, R"("Be brief.")"},
    {"derived.template", kHonoured, kString, R"("{{ messages }}")", "Jinja"},
    {"derived.parameters", kHonoured, kObject, R"({"top_k":3})", "in Ollama's words"},
    {"derived.messages", kHonoured, kArray, R"([{"role":"user","content":"Hi"}])", "at most 256"},
    {"derived.license", kHonoured, kText, R"("MIT")"},
    {"model_type", kHonoured, kString, R"("embedding")", "llm or embedding; llm when not given"},
    {"metadata", kHonoured, kObject, R"({"a":"b"})", "texts"},
    {"replace", kHonoured, kBool, "true", "false: a name that is taken is refused"},
});
constexpr auto kLogs = std::to_array<Parameter>({
    {"limit", kHonoured, R"({"type":"integer","minimum":1,"maximum":10000})", "1",
     "the newest; all when not given"},
});

constexpr auto kLoad = std::to_array<Parameter>({
    {"model", kHonoured, kString, R"("pupil")", {}, {}, true},
    {"keep_alive", kHonoured, kAny, R"("5m")",
     "as Ollama's, but for 0; the worker's when not given"},
});
constexpr auto kUnload = std::to_array<Parameter>({
    {"model", kHonoured, kString, R"("pupil")", {}, {}, true},
});
constexpr auto kPlan = std::to_array<Parameter>({
    {"model", kHonoured, kString, R"("pupil")", "it or path is required"},
    {"path", kHonoured, kString, R"("other.gguf")", "below a --model-dir of the workers",
     R"("model":"","path":"fresh.gguf")"},
    {"context_length", kHonoured, R"({"type":"integer","minimum":1,"maximum":16777216})", "4096",
     "as the worker is configured when not given; so are the others"},
    {"max_sequences", kHonoured, R"({"type":"integer","minimum":1,"maximum":4096})", "8"},
    {"kv_bytes", kHonoured, kCount, "1048576"},
    {"kv_type", kHonoured, R"({"enum":["f16","f32"]})", R"("f32")"},
});

constexpr auto kEndpoints = std::to_array<Endpoint>({
    {"GET", "/admin/models", "What is registered, and the state of every served model"},
    {"POST", "/admin/models", "Register a model", R"({"name":"fresh","path":"fresh.gguf"})",
     kRegister},
    {"DELETE", "/admin/models/{model...}", "Remove what was registered"},
    {"POST", "/admin/models/load", "Load a model that is known", R"({"model":"teacher"})", kLoad},
    {"POST", "/admin/models/unload", "Let a model go once nobody uses it", R"({"model":"teacher"})",
     kUnload},
    {"POST", "/models/load", "The same as llama-server's router has it: answered while it loads",
     R"({"model":"teacher"})", kLoad},
    {"POST", "/models/unload", "Let a model go, under llama-server's path",
     R"({"model":"teacher"})", kUnload},
    {"POST", "/admin/plan", "What a model would take, before it is loaded",
     R"({"model":"teacher"})", kPlan},
    {.method = "GET",
     .path = "/admin/models/{model}/logs",
     .summary = "A model's own log",
     .query = kLogs},
    {"GET", "/admin/models/{model}/experts",
     "Where a model's experts lie, and how often each is chosen"},
    {"DELETE", "/admin/models/{model}/logs", "Clear a model's own log"},
});

}  // namespace

Coverage DialectCoverage() { return {{kEndpoints.begin(), kEndpoints.end()}}; }

}  // namespace conclave::gateway::admin
