#include "store/registration_request.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "base/strings.h"
#include "store/validate.h"

namespace conclave::store {
namespace {

namespace pb = conclave::v1;

constexpr size_t kNameBytesMax = 200;
constexpr int kAliasesMax = 32;
constexpr size_t kPathBytesMax = 1024;
constexpr int kProviderMax = 64;
constexpr size_t kConfigBytesMax = 64 << 10;
constexpr int kSystemMax = 256'000;
constexpr int kTemplateMax = 128 << 10;
constexpr int kLicenseMax = 1 << 20;
constexpr int kMessagesMax = 256;
constexpr int kMessageMax = 256'000;

bool IsAlphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

absl::Status CheckName(std::string_view field, std::string_view name) {
  if (name.empty()) return MissingField(field);
  const bool good =
      name.size() <= kNameBytesMax && IsAlphanumeric(name.front()) &&
      name.find("..") == std::string_view::npos &&
      std::all_of(name.begin(), name.end(), [](char c) {
        return IsAlphanumeric(c) || std::string_view("._:/-").find(c) != std::string_view::npos;
      });
  if (good) return absl::OkStatus();
  return InvalidField(field, "invalid_value",
                      "expected 1 to 200 letters, digits, dots, underscores, colons, slashes and "
                      "dashes, the first a letter or digit, without \"..\".");
}

absl::Status CheckObject(std::string_view field, std::string_view json) {
  if (json.empty()) return absl::OkStatus();
  if (json.size() > kConfigBytesMax) {
    return InvalidField(field, "string_above_max_length", "expected at most 64 KiB of JSON.");
  }
  base::JsonLimits limits;
  limits.allow_nul_in_strings = false;
  const absl::StatusOr<base::JsonDocument> document = base::JsonDocument::Parse(json, limits);
  if (!document.ok()) {
    return InvalidField(field, "invalid_json", base::Std(document.status().message()));
  }
  if (document->root().is_object()) return absl::OkStatus();
  return InvalidField(field, "invalid_type", "expected an object.");
}

absl::Status CheckExample(const std::string& field, const pb::ChatMessage& message) {
  if (message.role() != pb::ROLE_SYSTEM && message.role() != pb::ROLE_USER &&
      message.role() != pb::ROLE_ASSISTANT) {
    return InvalidField(field, "invalid_value", "expected a role of system, user or assistant.");
  }
  if (!message.tool_calls().empty()) {
    return InvalidField(field, "invalid_value", "examples cannot call tools.");
  }
  for (const pb::ContentPart& part : message.content()) {
    RETURN_IF_ERROR(CheckText(field, part.text(), kMessageMax));
  }
  return CheckText(field, message.reasoning(), kMessageMax);
}

absl::Status CheckDerived(const pb::DerivedModel& derived) {
  RETURN_IF_ERROR(CheckName("derived.base", derived.base()));
  RETURN_IF_ERROR(CheckText("derived.system", derived.system(), kSystemMax));
  RETURN_IF_ERROR(CheckText("derived.template", derived.template_(), kTemplateMax));
  RETURN_IF_ERROR(CheckText("derived.license", derived.license(), kLicenseMax));
  RETURN_IF_ERROR(CheckObject("derived.parameters", derived.parameters_json()));
  if (derived.messages_size() > kMessagesMax) {
    return InvalidField("derived.messages", "array_above_max_length",
                        "expected at most 256 messages.");
  }
  for (int i = 0; i < derived.messages_size(); ++i) {
    RETURN_IF_ERROR(CheckExample(absl::StrCat("derived.messages[", i, "]"), derived.messages(i)));
  }
  return absl::OkStatus();
}

// A path is looked up below the workers' model folders; they resolve links, we refuse the obvious.
absl::Status CheckPath(std::string_view path) {
  if (path.size() > kPathBytesMax) {
    return InvalidField("path", "string_above_max_length", "expected at most 1024 bytes.");
  }
  for (size_t from = 0; from <= path.size();) {
    const size_t end = std::min(path.find('/', from), path.size());
    if (path.substr(from, end - from) == "..") {
      return InvalidField("path", "invalid_value", "\"..\" leads out of the model folders.");
    }
    from = end + 1;
  }
  return CheckText("path", path, static_cast<int64_t>(kPathBytesMax));
}

}  // namespace

absl::Status CheckRegistration(const pb::ModelRegistration& registration) {
  RETURN_IF_ERROR(CheckName("name", registration.name()));
  if (registration.aliases_size() > kAliasesMax) {
    return InvalidField("aliases", "array_above_max_length", "expected at most 32 aliases.");
  }
  for (int i = 0; i < registration.aliases_size(); ++i) {
    RETURN_IF_ERROR(CheckName(absl::StrCat("aliases[", i, "]"), registration.aliases(i)));
  }
  RETURN_IF_ERROR(CheckText("backend", registration.backend(), kProviderMax));
  RETURN_IF_ERROR(CheckPath(registration.path()));
  RETURN_IF_ERROR(CheckText("provider_id", registration.provider_id(), kProviderMax));
  RETURN_IF_ERROR(CheckText("provider_model_id", registration.provider_model_id(),
                            static_cast<int64_t>(kNameBytesMax)));
  RETURN_IF_ERROR(CheckObject("config", registration.config_json()));
  const std::string& type = registration.model_type();
  if (!type.empty() && type != "llm" && type != "embedding") {
    return InvalidField("model_type", "invalid_value", "expected \"llm\" or \"embedding\".");
  }
  RETURN_IF_ERROR(CheckMetadata(registration.metadata()));
  if (!registration.has_derived()) return absl::OkStatus();
  if (!registration.backend().empty() || !registration.path().empty() ||
      !registration.provider_id().empty()) {
    return InvalidField("derived", "invalid_value",
                        "a derived model has no backend, path or provider of its own.");
  }
  return CheckDerived(registration.derived());
}

std::string DigestOf(const pb::ModelRegistration& registration) {
  pb::ModelRegistration said = registration;
  said.clear_created_at();
  said.clear_digest();
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    said.SerializeToCodedStream(&coded);
  }
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest.data());
  return absl::BytesToHexString({reinterpret_cast<const char*>(digest.data()), digest.size()})
      .substr(0, 32);
}

void Inherit(const pb::DerivedModel& from, pb::DerivedModel* derived) {
  derived->set_base(from.base());
  if (!derived->has_system() && from.has_system()) derived->set_system(from.system());
  if (!derived->has_template_() && from.has_template_()) derived->set_template_(from.template_());
  if (derived->parameters_json().empty()) derived->set_parameters_json(from.parameters_json());
  if (derived->messages().empty()) *derived->mutable_messages() = from.messages();
  if (derived->license().empty()) derived->set_license(from.license());
}

}  // namespace conclave::store
