#include "worker/puller.h"

#include <algorithm>
#include <chrono>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/status.h"
#include "worker/model_file.h"

namespace conclave::worker {
namespace {

using base::JsonValue;
using Told = std::function<bool(const PullStep&)>;

constexpr size_t kManifestBytesMax = 1 << 20;
constexpr size_t kTextBytesMax = 1 << 20;
constexpr size_t kLayersMax = 64;
constexpr std::chrono::milliseconds kTellEvery{100};

constexpr std::string_view kModelType = "application/vnd.ollama.image.model";
constexpr std::string_view kSystemType = "application/vnd.ollama.image.system";
constexpr std::string_view kParametersType = "application/vnd.ollama.image.params";
constexpr std::string_view kMessagesType = "application/vnd.ollama.image.messages";
constexpr std::string_view kLicenseType = "application/vnd.ollama.image.license";

absl::Status Stopped() { return absl::CancelledError("the caller has gone"); }

absl::StatusOr<PullSource::ManifestName> ParseName(const std::string& name) {
  if (!IsModelName(name)) return base::InvalidArgument("name: not the name of a model");
  const std::string lower = absl::AsciiStrToLower(name);
  const size_t slash = lower.rfind('/');
  const size_t colon = lower.find(':', slash == std::string::npos ? 0 : slash);
  PullSource::ManifestName parsed{.host = "registry.ollama.ai",
                                  .ns = "library",
                                  .model = lower.substr(0, colon),
                                  .tag = "latest"};
  if (colon != std::string::npos) parsed.tag = lower.substr(colon + 1);
  if (slash != std::string::npos) {
    parsed.ns = parsed.model.substr(0, slash);
    parsed.model = parsed.model.substr(slash + 1);
    const size_t host_end = parsed.ns.find('/');
    if (host_end != std::string::npos) {
      parsed.host = parsed.ns.substr(0, host_end);
      parsed.ns = parsed.ns.substr(host_end + 1);
    }
  }
  const bool whole = !parsed.ns.empty() && !parsed.model.empty() && !parsed.tag.empty() &&
                     parsed.ns.find('/') == std::string::npos;
  if (!whole) return base::InvalidArgument("name: expected [host/][namespace/]model[:tag]");
  return parsed;
}

std::vector<std::string> PlainPaths(const std::string& name,
                                    const PullSource::ManifestName& parsed) {
  const size_t slash = name.rfind('/');
  const std::string stem = name.substr(0, name.find(':', slash == std::string::npos ? 0 : slash));
  std::vector<std::string> paths;
  if (parsed.tag == "latest") paths.push_back(absl::StrCat(stem, ".gguf"));
  paths.push_back(absl::StrCat(stem, "-", parsed.tag, ".gguf"));
  paths.push_back(absl::StrCat(stem, "/", parsed.tag, ".gguf"));
  return paths;
}

// Copies a file into the store and tells how far it is, not more often than somebody can read.
absl::StatusOr<std::string> CopyFile(BlobStore& blobs, PullSource& source, const std::string& path,
                                     const std::string& digest, const Told& told) {
  PullStep step{.status = absl::StrCat("pulling ", digest.empty() ? path : digest.substr(7, 12)),
                .digest = digest};
  std::unique_ptr<BlobStore::Writer> writer;
  base::SteadyTime tell_at{};
  RETURN_IF_ERROR(source.Copy(
      path,
      [&](int64_t total) -> absl::Status {
        step.total = total;
        ASSIGN_OR_RETURN(writer, blobs.Begin(digest));
        return told(step) ? absl::OkStatus() : Stopped();
      },
      [&](std::string_view bytes) -> absl::Status {
        RETURN_IF_ERROR(writer->Append(bytes));
        step.completed = writer->size();
        const base::SteadyTime now = std::chrono::steady_clock::now();
        if (now < tell_at && step.completed != step.total) return absl::OkStatus();
        tell_at = now + kTellEvery;
        return told(step) ? absl::OkStatus() : Stopped();
      }));
  if (!told({.status = "verifying sha256 digest"})) return Stopped();
  return writer->Commit();
}

absl::Status ReadMessages(const std::string& text, Pulled* pulled) {
  ASSIGN_OR_RETURN(const base::JsonDocument document, base::JsonDocument::Parse(text));
  RETURN_IF_ERROR(document.root().ExpectArray());
  for (size_t i = 0; i < document.root().size(); ++i) {
    const JsonValue message = document.root().At(i);
    ASSIGN_OR_RETURN(std::string role, message.Get("role").AsString());
    ASSIGN_OR_RETURN(std::string content, message.Get("content").AsString());
    pulled->messages.emplace_back(std::move(role), std::move(content));
  }
  return absl::OkStatus();
}

// The small layers. A template is not taken: it is Go's, and the model file has its own.
absl::Status ReadText(PullSource& source, const PullSource::ManifestName& name,
                      const std::string& type, const std::string& digest, Pulled* pulled) {
  const bool known = type == kSystemType || type == kParametersType || type == kMessagesType ||
                     type == kLicenseType;
  if (!known) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::string text, source.Read(source.LayerPath(name, digest), kTextBytesMax));
  Sha256 hash;
  hash.Add(text.data(), text.size());
  if (absl::StrCat("sha256:", hash.Hex()) != digest) {
    return base::InvalidArgument(absl::StrCat("digest mismatch in the layer ", digest));
  }
  if (type == kSystemType) pulled->system = std::move(text);
  if (type == kParametersType) pulled->parameters = std::move(text);
  if (type == kLicenseType) absl::StrAppend(&pulled->license, text);
  return type == kMessagesType ? ReadMessages(text, pulled) : absl::OkStatus();
}

absl::StatusOr<Pulled> PullLayers(BlobStore& blobs, PullSource& source,
                                  const PullSource::ManifestName& name, const std::string& manifest,
                                  const Told& told) {
  ASSIGN_OR_RETURN(const base::JsonDocument document, base::JsonDocument::Parse(manifest));
  const JsonValue layers = document.root().Get("layers");
  RETURN_IF_ERROR(layers.ExpectArray());
  if (layers.size() > kLayersMax) return layers.Error("too many layers");
  Pulled pulled;
  for (size_t i = 0; i < layers.size(); ++i) {
    ASSIGN_OR_RETURN(const std::string type, layers.At(i).Get("mediaType").AsString());
    ASSIGN_OR_RETURN(const std::string digest, layers.At(i).Get("digest").AsString());
    ASSIGN_OR_RETURN(const int64_t size, layers.At(i).Get("size").AsInt(0, int64_t{1} << 50));
    if (!IsDigest(digest)) return layers.At(i).Get("digest").Error("not a sha256 digest");
    if (type != kModelType) {
      RETURN_IF_ERROR(ReadText(source, name, type, digest, &pulled));
      continue;
    }
    if (!pulled.digest.empty()) return base::Unimplemented("a model of several files");
    pulled.digest = digest;
    if (blobs.Find(digest).ok()) {
      const bool on = told({.status = absl::StrCat("pulling ", digest.substr(7, 12)),
                            .digest = digest,
                            .total = size,
                            .completed = size});
      if (!on) return Stopped();
      continue;
    }
    RETURN_IF_ERROR(CopyFile(blobs, source, source.LayerPath(name, digest), digest, told).status());
  }
  if (pulled.digest.empty()) return base::InvalidArgument("the manifest names no model file");
  return pulled;
}

}  // namespace

absl::StatusOr<Pulled> Puller::PullFrom(PullSource& source, const std::string& name,
                                        const Told& told) {
  ASSIGN_OR_RETURN(const PullSource::ManifestName parsed, ParseName(name));
  const absl::StatusOr<std::string> manifest =
      source.Read(source.ManifestPath(parsed), kManifestBytesMax);
  if (manifest.ok()) return PullLayers(*blobs_, source, parsed, *manifest, told);
  if (!absl::IsNotFound(manifest.status())) return manifest.status();
  absl::StatusOr<std::string> digest = manifest.status();
  for (const std::string& path : PlainPaths(name, parsed)) {
    digest = CopyFile(*blobs_, source, path, "", told);
    if (!absl::IsNotFound(digest.status())) break;
  }
  RETURN_IF_ERROR(digest.status());
  Pulled pulled;
  pulled.digest = *std::move(digest);
  return pulled;
}

absl::StatusOr<Pulled> Puller::Pull(const std::string& name, const Told& told) {
  if (sources_.empty()) {
    return base::WithReason(
        base::FailedPrecondition("this server has no source to pull models from: see --pull-from"),
        "no_pull_source");
  }
  RETURN_IF_ERROR(ParseName(name).status());
  if (!told({.status = "pulling manifest"})) return Stopped();
  absl::Status missing;
  for (const auto& source : sources_) {
    absl::StatusOr<Pulled> pulled = PullFrom(*source, name, told);
    if (!absl::IsNotFound(pulled.status())) return pulled;
    missing = pulled.status();
  }
  return base::WithReason(
      base::NotFound(absl::StrCat("pull model manifest: no source has \"", name, "\"")),
      "model_not_found");
}

}  // namespace conclave::worker
