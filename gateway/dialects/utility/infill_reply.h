// POST /infill: the answer, in one piece and streamed, as llama-server's.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gateway/dialects/generation.h"
#include "gateway/dialects/sse.h"

namespace conclave::gateway::utility {

// What of the request shapes the answer.
struct InfillShape {
  std::string model;
  bool with_tokens = false;
  std::vector<std::string> fields;  // paths of what the last object has; empty = all
};

std::string EncodeInfill(const InfillShape& shape, const Completion& completion);

// {"content","stop":false} for each piece, then the object of an answer in one piece, without
// content. There is no [DONE].
class InfillStream final : public GenerationEncoder {
 public:
  explicit InfillStream(InfillShape shape) : shape_(std::move(shape)) {}

  std::string_view content_type() const override { return kSseType; }
  void Begin(std::string*) override {}
  void OnEvent(const v1::GenerateEvent& event, std::string* out) override;
  void End(std::string*) override {}
  void KeepAlive(std::string* out) override { *out += ": ping\n"; }
  void Error(const ErrorInfo& error, std::string* out) override;

 private:
  const InfillShape shape_;
  v1::Accepted accepted_;
  int num_predicted_ = 0;
};

}  // namespace conclave::gateway::utility
