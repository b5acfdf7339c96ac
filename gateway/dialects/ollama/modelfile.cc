#include "gateway/dialects/ollama/modelfile.h"

#include <functional>
#include <map>

#include "base/json.h"
#include "gateway/dialects/ollama/names.h"

namespace conclave::gateway::ollama {
namespace {

using base::JsonValue;
using Visit = std::function<void(const std::string& name, const std::string& value)>;

// Values as JSON text, arrays taken apart.
void ForEachParameter(std::string_view json, const Visit& visit) {
  const absl::StatusOr<base::JsonDocument> document = base::JsonDocument::Parse(json);
  if (!document.ok()) return;
  std::multimap<std::string, std::string> sorted;
  document->root().ForEachMember([&](std::string_view key, JsonValue value) {
    if (!value.is_array()) {
      sorted.emplace(key, value.ToJson());
      return;
    }
    for (size_t i = 0; i < value.size(); ++i) sorted.emplace(key, value.At(i).ToJson());
  });
  for (const auto& [name, value] : sorted) visit(name, value);
}

void AddBlock(std::string_view word, const std::string& text, std::string* out) {
  if (text.empty()) return;
  *out += std::string(word) + " \"\"\"" + text + "\"\"\"\n";
}

}  // namespace

std::string ParametersText(std::string_view parameters_json) {
  constexpr size_t kNameWidth = 30;
  std::string text;
  ForEachParameter(parameters_json, [&](const std::string& name, const std::string& value) {
    if (!text.empty()) text += '\n';
    text += name;
    text.append(name.size() < kNameWidth ? kNameWidth - name.size() : 0, ' ');
    text += ' ' + value;
  });
  return text;
}

std::string_view RoleWord(v1::Role role) {
  if (role == v1::ROLE_SYSTEM) return "system";
  return role == v1::ROLE_ASSISTANT ? "assistant" : "user";
}

std::string TextOf(const v1::ChatMessage& message) {
  std::string text;
  for (const v1::ContentPart& part : message.content()) text += part.text();
  return text;
}

std::string Modelfile(const v1::ModelStatus& model) {
  const v1::DerivedModel& derived = model.details().derived();
  std::string text =
      "FROM " + Tagged(derived.base().empty() ? model.name() : derived.base()) + "\n";
  AddBlock("TEMPLATE", derived.template_(), &text);
  AddBlock("SYSTEM", derived.system(), &text);
  ForEachParameter(derived.parameters_json(),
                   [&](const std::string& name, const std::string& value) {
                     text += "PARAMETER " + name + ' ' + value + '\n';
                   });
  for (const v1::ChatMessage& message : derived.messages()) {
    text += "MESSAGE " + std::string(RoleWord(message.role())) + " \"\"\"" + TextOf(message) +
            "\"\"\"\n";
  }
  AddBlock("LICENSE", derived.license(), &text);
  text.pop_back();  // the last newline
  return text;
}

}  // namespace conclave::gateway::ollama
