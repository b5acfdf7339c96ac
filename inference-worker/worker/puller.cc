#include "worker/puller.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/sha256.h"
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
// A source that breaks off and has brought nothing this often in a row is left.
constexpr int kTriesInVainMax = 3;
constexpr std::chrono::milliseconds kPause{200};

constexpr std::string_view kModelType = "application/vnd.ollama.image.model";
constexpr std::string_view kSystemType = "application/vnd.ollama.image.system";
constexpr std::string_view kTemplateType = "application/vnd.ollama.image.template";
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

// Why one source brought nothing.
struct Failure {
  std::string source;
  absl::Status status;
};

// Whether no other source is asked: nobody listens, no disk has room, or the bytes are not what the
// name stands for.
bool EndsPull(const absl::Status& status) {
  return absl::IsCancelled(status) || absl::IsResourceExhausted(status) ||
         base::ReasonOf(status) == "digest_mismatch";
}

// Of several: the first one's kind, and what each of them said.
absl::Status Joined(const std::vector<Failure>& failures) {
  std::string all;
  for (const Failure& failure : failures) {
    absl::StrAppend(&all, all.empty() ? "" : "; ", failure.source, ": ", failure.status.message());
  }
  return base::WithReason(absl::Status(failures.front().status.code(), all),
                          base::ReasonOf(failures.front().status));
}

// A file on its way into the store. Tells how far it is, not more often than somebody can read.
class Download final {
 public:
  // Digest and size as a manifest tells them; "" and 0 of a plain file, which cannot be continued:
  // nothing would tell whether the rest belongs to what is here.
  Download(BlobStore& blobs, const Told& told, const std::string& path, const std::string& digest,
           int64_t size)
      : blobs_(blobs), told_(told), path_(path), size_(size) {
    step_.status = absl::StrCat("pulling ", digest.empty() ? path : digest.substr(7, 12));
    step_.digest = digest;
    step_.total = size;
  }

  // The digest.
  absl::StatusOr<std::string> Run(PullSource& source) {
    if (!step_.digest.empty()) RETURN_IF_ERROR(TakeUp());
    if (size_ == 0 || step_.completed < size_) RETURN_IF_ERROR(Copy(source));
    if (!told_({.status = "verifying sha256 digest"})) return Stopped();
    return writer_->Commit();
  }

 private:
  absl::Status TakeUp() {
    ASSIGN_OR_RETURN(writer_, blobs_.Continue(step_.digest));
    if (writer_->size() > size_) {  // it cannot be of this file
      writer_->Forget();
      writer_ = nullptr;
      ASSIGN_OR_RETURN(writer_, blobs_.Continue(step_.digest));
    }
    step_.completed = writer_->size();
    return absl::OkStatus();
  }

  // Over as many breaks as it takes, while each try brings something.
  absl::Status Copy(PullSource& source) {
    for (int in_vain = 0;;) {
      const int64_t before = step_.completed;
      const absl::Status status = source.Copy(
          path_, before, [this](int64_t total) { return OnBegin(total); },
          [this](std::string_view bytes) { return OnBytes(bytes); });
      if (!absl::IsUnavailable(status) || step_.digest.empty()) return status;
      in_vain = step_.completed > before ? 0 : in_vain + 1;
      if (in_vain == kTriesInVainMax) return status;
      if (in_vain > 0) std::this_thread::sleep_for(kPause * in_vain);
      if (!told_(step_)) return Stopped();
    }
  }

  absl::Status OnBegin(int64_t total) {
    if (size_ > 0 && total > 0 && total != size_) return Wrong();
    step_.total = std::max(size_, total);
    if (writer_ == nullptr) {
      ASSIGN_OR_RETURN(writer_, blobs_.Begin(""));
    }
    return told_(step_) ? absl::OkStatus() : Stopped();
  }

  absl::Status OnBytes(std::string_view bytes) {
    if (!bytes.empty()) {
      RETURN_IF_ERROR(writer_->Append(bytes));
      step_.completed = writer_->size();
    }
    if (size_ > 0 && step_.completed > size_) return Wrong();
    const base::SteadyTime now = std::chrono::steady_clock::now();
    const bool whole = !bytes.empty() && step_.completed == step_.total;
    if (now < tell_at_ && !whole) return absl::OkStatus();
    tell_at_ = now + kTellEvery;
    return told_(step_) ? absl::OkStatus() : Stopped();
  }

  absl::Status Wrong() {
    writer_->Forget();
    return base::WithReason(
        base::InvalidArgument(absl::StrCat(path_, ": not of the size that its manifest says")),
        "digest_mismatch");
  }

  BlobStore& blobs_;
  const Told& told_;
  const std::string path_;
  const int64_t size_;
  PullStep step_;
  std::unique_ptr<BlobStore::Writer> writer_;
  base::SteadyTime tell_at_{};
};

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

// The small layers.
absl::Status ReadText(PullSource& source, const PullSource::ManifestName& name,
                      const std::string& type, const std::string& digest, Pulled* pulled) {
  const bool known = type == kSystemType || type == kParametersType || type == kMessagesType ||
                     type == kLicenseType || type == kTemplateType;
  if (!known) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::string text, source.Read(source.LayerPath(name, digest), kTextBytesMax));
  base::Sha256 hash;
  hash.Add(text.data(), text.size());
  if (absl::StrCat("sha256:", hash.Hex()) != digest) {
    return base::WithReason(
        base::InvalidArgument(absl::StrCat("digest mismatch in the layer ", digest)),
        "digest_mismatch");
  }
  if (type == kSystemType) pulled->system = std::move(text);
  if (type == kParametersType) pulled->parameters = std::move(text);
  if (type == kTemplateType) pulled->chat_template = std::move(text);
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
    Download download(blobs, told, source.LayerPath(name, digest), digest, size);
    RETURN_IF_ERROR(download.Run(source).status());
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
    digest = Download(*blobs_, told, path, "", 0).Run(source);
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
  std::vector<Failure> failures;  // but for "not here"
  for (const auto& source : sources_) {
    absl::StatusOr<Pulled> pulled = PullFrom(*source, name, told);
    if (pulled.ok() || EndsPull(pulled.status())) return pulled;
    if (!absl::IsNotFound(pulled.status())) failures.push_back({source->name(), pulled.status()});
  }
  if (failures.empty()) {
    return base::WithReason(
        base::NotFound(absl::StrCat("pull model manifest: no source has \"", name, "\"")),
        "model_not_found");
  }
  return sources_.size() == 1 ? failures.front().status : Joined(failures);
}

}  // namespace conclave::worker
