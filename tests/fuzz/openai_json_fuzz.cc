// Bodies of the dialects: whatever comes, a decoder gives a message or a complaint.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "gateway/dialects/ai_backend/query.h"
#include "gateway/dialects/anthropic/messages_request.h"
#include "gateway/dialects/llama_stack/request.h"
#include "gateway/dialects/llm_serving/quirks.h"
#include "gateway/dialects/ollama/chat_request.h"
#include "gateway/dialects/ollama/generate_request.h"
#include "gateway/dialects/openai/assistants_decode.h"
#include "gateway/dialects/openai/chat_request.h"
#include "gateway/dialects/openai/embeddings_codec.h"
#include "gateway/dialects/openai/kt_legacy.h"
#include "gateway/dialects/utility/infill_request.h"

using namespace conclave::gateway;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  const auto chat = openai::DecodeChatRequest(body, "be kind");
  // What was accepted is within the limits that were promised.
  if (chat.ok()) {
    if (chat->generate.chat().messages().empty()) std::abort();
    if (chat->generate.stop().strings_size() > 4) std::abort();
    if (chat->generate.logprobs().top() > 20) std::abort();
  }
  const auto messages = anthropic::DecodeMessagesRequest(body, "be kind");
  if (messages.ok()) {
    const auto& generate = messages->generate;
    if (generate.chat().messages().empty() || generate.stop().max_tokens() < 1) std::abort();
    if (generate.stop().strings_size() > 16 || generate.sampling().temperature() > 1) std::abort();
  }
  (void)anthropic::DecodeCountTokensRequest(body, "");
  for (const llama_stack::Wire* wire : {&llama_stack::kWire2024, &llama_stack::kWire2025}) {
    const auto inference = llama_stack::DecodeChat(*wire, body, "be kind");
    if (inference.ok()) {
      const auto& generate = inference->generate;
      if (generate.chat().messages().empty() || generate.stop().strings_size() > 4) std::abort();
      if (generate.logprobs().top() > 20) std::abort();
    }
    (void)llama_stack::DecodeCompletion(*wire, body);
    (void)llama_stack::DecodeEmbeddings(*wire, body);
    const auto chats = llama_stack::DecodeChatBatch(*wire, body, "be kind");
    if (chats.ok() && (chats->empty() || chats->size() > 128)) std::abort();
    const auto texts = llama_stack::DecodeCompletionBatch(*wire, body);
    if (texts.ok() && (texts->empty() || texts->size() > 128)) std::abort();
  }
  (void)llama_stack::DecodeRanking(body);
  const auto infill = utility::DecodeInfillRequest(body);
  if (infill.ok() && infill->generate.infill().files_size() > 256) std::abort();
  (void)ai_backend::ParseQuery(body);
  (void)llm_serving::BarePrompt(body);
  (void)llm_serving::WithEmbedDefaults(body);
  (void)openai::Respelled(body);
  (void)openai::DecodeEmbeddingsRequest(body);
  (void)ollama::DecodeChatRequest(body);
  (void)ollama::DecodeGenerateRequest(body);
  const auto document = openai::ParseStoredBody(body);
  if (!document.ok()) return 0;
  (void)openai::DecodeCreateAssistant(document->root());
  (void)openai::DecodeCreateThreadAndRun(document->root());
  (void)openai::DecodeCreateRun(document->root());
  (void)openai::DecodeSubmitToolOutputs(document->root());
  return 0;
}
