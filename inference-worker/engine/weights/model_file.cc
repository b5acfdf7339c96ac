#include "engine/weights/model_file.h"

#include <sys/stat.h>

#include "engine/weights/gguf.h"
#include "engine/weights/hf_folder.h"

namespace conclave::engine {

absl::StatusOr<std::shared_ptr<const ModelSource>> OpenModelFile(const std::string& path) {
  struct stat facts = {};
  const bool folder = stat(path.c_str(), &facts) == 0 && S_ISDIR(facts.st_mode);
  return folder ? OpenHfFolder(path) : OpenGguf(path);
}

}  // namespace conclave::engine
