#include "gateway/dialects/answer_fields.h"

#include <array>

namespace conclave::gateway {
namespace {

constexpr std::string_view kOpenAi =
    "id:string object:string created:integer model:string choices:array usage:object";
constexpr std::string_view kVectors = "object:string data:array model:string usage:object";
constexpr std::string_view kModel = "id:string object:string created:integer owned_by:string";
constexpr std::string_view kList = "object:string data:array";
constexpr std::string_view kReranked =
    "id:string object:string model:string results:array usage:object";
constexpr std::string_view kMessage = "completion_message:object";
constexpr std::string_view kContent = "content:string stop_reason:string";
constexpr std::string_view kMessages = "completion_message_batch:array";

constexpr auto kAll = std::to_array<AnswerFields>({
    {"POST", "/v1/chat/completions", kOpenAi},
    {"POST", "/v1/completions", kOpenAi},
    {"POST", "/v1/embeddings", kVectors},
    {"POST", "/openai/deployments/{deployment}/chat/completions", kOpenAi},
    {"POST", "/openai/deployments/{deployment}/completions", kOpenAi},
    {"POST", "/openai/deployments/{deployment}/embeddings", kVectors},
    {"GET", "/v1/models", kList},
    {"GET", "/v1/models/{model...}", kModel},
    {"POST", "/v1/models", kModel},
    {"GET", "/v1/assistants", kList},
    {"GET", "/v1/threads", kList},
    {"GET", "/v1/threads/{thread}/messages", kList},
    {"GET", "/v1/threads/{thread}/runs", kList},
    {"GET", "/v1/threads/{thread}/runs/{run}/steps", kList},
    {"POST", "/api/embed", "model:string embeddings:array"},
    {"POST", "/api/embeddings", "embedding:array"},
    {"POST", "/api/show", "details:object model_info:object capabilities:array"},
    {"GET", "/api/tags", "models:array"},
    {"GET", "/api/ps", "models:array"},
    {"GET", "/api/version", "version:string"},
    {"POST", "/v1/messages",
     "id:string type:string role:string model:string content:array stop_reason:string "
     "usage:object"},
    {"POST", "/v1/messages/count_tokens", "input_tokens:integer"},
    {"POST", "/inference/chat_completion", kMessage},
    {"POST", "/alpha/inference/chat-completion", kMessage},
    {"POST", "/v1/inference/chat-completion", kMessage},
    {"POST", "/inference/completion", kMessage},
    {"POST", "/alpha/inference/completion", kContent},
    {"POST", "/v1/inference/completion", kContent},
    {"POST", "/inference/embeddings", "embeddings:array"},
    {"POST", "/alpha/inference/embeddings", "embeddings:array"},
    {"POST", "/v1/inference/embeddings", "embeddings:array"},
    {"POST", "/batch_inference/chat_completion", kMessages},
    {"POST", "/batch_inference/completion", kMessages},
    {"POST", "/alpha/batch-inference/chat-completion", kMessages},
    {"POST", "/alpha/batch-inference/completion", kMessages},
    {"POST", "/v1/inference/batch-chat-completion", "batch:array"},
    {"POST", "/v1/inference/batch-completion", "batch:array"},
    {"POST", "/v1/inference/rerank", "data:array"},
    {"POST", "/v1alpha/inference/rerank", "data:array"},
    {"GET", "/v1/providers", "data:array"},
    {"GET", "/v1/inspect/routes", "data:array"},
    {"GET", "/alpha/health", "status:string"},
    {"POST", "/v1/tokenize", "tokens:array count:integer max_model_len:integer"},
    {"POST", "/v1/detokenize", "prompt:string content:string"},
    {"POST", "/v1/apply-template", "prompt:string"},
    {"POST", "/v1/infill",
     "content:string stop:boolean model:string tokens_predicted:integer "
     "tokens_evaluated:integer stop_type:string timings:object"},
    {"POST", "/v1/rerank", kReranked},
    {"POST", "/v1/reranking", kReranked},
    {"POST", "/v2/rerank", kReranked},
    {"GET", "/livez", "status:string"},
    {"GET", "/readyz", "status:string models:object"},
    {"GET", "/v1/health", "status:string"},
    {"GET", "/v1/version", "version:string commit:string api:object"},
    {"GET", "/v1/openapi.json", "openapi:string info:object paths:object components:object"},
    {"GET", "/v1/capabilities", "object:string models:array dialects:array"},
});

}  // namespace

std::span<const AnswerFields> AllAnswerFields() { return kAll; }

std::string_view AnswerFieldsOf(std::string_view method, std::string_view path) {
  for (const AnswerFields& row : kAll) {
    if (row.method == method && row.path == path) return row.fields;
  }
  return {};
}

}  // namespace conclave::gateway
