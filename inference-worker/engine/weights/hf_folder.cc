#include "engine/weights/hf_folder.h"

#include <utility>

#include "engine/weights/hf/config.h"
#include "engine/weights/hf/mapper.h"
#include "engine/weights/hf/source.h"
#include "engine/weights/mapped_file.h"
#include "engine/weights/safetensors.h"

namespace conclave::engine {
namespace {

constexpr size_t kConfigBytesMax = 16 << 20;

// The keys of the architecture, and what its tensors need.
absl::StatusOr<HfModel> ReadModel(const base::JsonValue& root, const HfFamily& family,
                                  DirectorySource* metadata) {
  HfModel model;
  metadata->AddMetadata("general.architecture", family.architecture);
  // A model of text within one of images too has an object of its own.
  const base::JsonValue text = root.Get("text_config");
  ConfigReader config(text.is_object() ? text : root, family.architecture, metadata);
  RETURN_IF_ERROR(family.read(config, &model));
  for (const base::JsonValue& object : {text, root}) {
    ASSIGN_OR_RETURN(const auto tied, object.Get("tie_word_embeddings").OptionalBool());
    model.tied = tied.value_or(model.tied);
    const base::JsonValue quantization = object.Get("quantization_config");
    if (quantization.missing()) continue;
    ASSIGN_OR_RETURN(model.storage, ReadStorage(quantization));
  }
  return model;
}

absl::StatusOr<std::shared_ptr<HfSource>> MapModel(const HfCheckpoint& checkpoint) {
  auto source = std::make_shared<HfSource>(checkpoint.name, checkpoint.tensors);
  const std::string config_path = checkpoint.name + "/config.json";
  const base::JsonValue& config = checkpoint.config;
  absl::Status status = config.ExpectObject();
  if (!status.ok()) return base::Annotate(status, config_path);
  const absl::StatusOr<const HfFamily*> family = FindHfFamily(config);
  if (!family.ok()) return base::Annotate(family.status(), config_path);
  const absl::StatusOr<HfModel> model = ReadModel(config, **family, &source->names());
  if (!model.ok()) return base::Annotate(model.status(), config_path);
  RETURN_IF_ERROR(TensorMapper(**family, *model, source.get()).MapAll());
  return source;
}

absl::StatusOr<base::JsonDocument> ReadConfig(const std::string& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<MappedFile> file, MappedFile::Open(path));
  if (file->bytes().size() > kConfigBytesMax) return base::InvalidArgument(path + ": over 16 MiB");
  const std::string text(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size());
  auto config = base::JsonDocument::Parse(text);
  if (!config.ok()) return base::Annotate(config.status(), path);
  return config;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const ModelSource>> MapHfCheckpoint(const HfCheckpoint& checkpoint) {
  return MapModel(checkpoint);
}

absl::StatusOr<std::shared_ptr<const ModelSource>> OpenHfFolder(const std::string& folder) {
  ASSIGN_OR_RETURN(const base::JsonDocument config, ReadConfig(folder + "/config.json"));
  ASSIGN_OR_RETURN(std::shared_ptr<const ModelSource> tensors, OpenSafetensors(folder));
  ASSIGN_OR_RETURN(
      std::shared_ptr<HfSource> source,
      MapModel({.name = folder, .config = config.root(), .tensors = std::move(tensors)}));
  ASSIGN_OR_RETURN(const auto pooling, ReadHfPooling(folder));
  if (pooling.has_value()) {
    // A reranker has said already what it is.
    ASSIGN_OR_RETURN(const std::string_view architecture, source->Architecture());
    DirectorySource& names = source->names();
    names.AddMetadata(names.Keep(std::string(architecture) + ".pooling_type"), *pooling);
  }
  RETURN_IF_ERROR(ReadHfTextFiles(folder, config.root(), &source->names()));
  return std::shared_ptr<const ModelSource>(std::move(source));
}

}  // namespace conclave::engine
