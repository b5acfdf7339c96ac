// POST /v1/chat/completions: the answer, in one piece and streamed.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gateway/dialects/openai/answer.h"
#include "gateway/dialects/openai/chat_request.h"
#include "gateway/dialects/openai/custom_tools.h"

namespace conclave::gateway::openai {

// What of the request shapes the answer.
struct ChatShape {
  bool with_logprobs = false;
  CallWords call_words = CallWords::kTools;
  std::set<std::string> custom_tools = {};  // calls of these are written as custom ones
  Reports reports;
};

std::string EncodeChatCompletion(const AnswerIdentity& identity, const Completion& completion,
                                 const ChatShape& shape);

// Chunks in the order the SDKs want: role, deltas, finish_reason, usage when asked for, [DONE].
class ChatStreamEncoder final : public AnswerStream {
 public:
  ChatStreamEncoder(AnswerIdentity identity, bool include_usage, ChatShape shape)
      : AnswerStream(std::move(identity), "chat.completion.chunk", include_usage, shape.reports),
        shape_(shape) {}

 private:
  struct ChoiceState {
    bool role_sent = false;
    std::vector<v1::TokenLogprob> logprobs;  // of tokens whose text is still held back
    std::map<int, bool> call_has_arguments;  // by index of the call
    std::map<int, CustomInput> inputs;       // likewise, of calls of custom tools
  };

  void OnAccepted(std::string* out) override { SendRole(0, out); }
  void OnDelta(const v1::Delta& delta, std::string* out) override;
  void OnFinished(const v1::Finished& finished, std::string* out) override;
  void SendRole(int index, std::string* out);
  // One chunk: `delta_json` is the delta object, `finish` "" for null.
  void SendDelta(int index, std::string_view delta_json, std::string_view finish, std::string* out);
  // A delta object; "" when there is nothing to tell.
  std::string ToolCallDelta(const v1::ToolCallDelta& call, ChoiceState* choice);
  std::string CustomCallDelta(const v1::ToolCallDelta& call, ChoiceState* choice);

  const ChatShape shape_;
  std::map<int, ChoiceState> choices_;
};

}  // namespace conclave::gateway::openai
