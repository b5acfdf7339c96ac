// services.h's ModelFiles over the workers that discovery knows.
#pragma once

#include <string>
#include <vector>

#include "gateway/upstream/services.h"
#include "mesh/discovery.h"
#include "mesh/files_client.h"

namespace conclave::gateway {

class FleetFiles final : public ModelFiles {
 public:
  explicit FleetFiles(mesh::Discovery* workers)  // must outlive it
      : workers_(workers), client_(workers) {}

  std::vector<std::string> Workers() override;
  Call<v1::HasBlobReply> HasBlob(const std::string& worker, v1::HasBlobRequest request,
                                 base::SteadyTime deadline) override;
  absl::StatusOr<std::unique_ptr<BlobUpload>> PutBlob(const std::string& worker,
                                                      const std::string& digest,
                                                      base::SteadyTime deadline) override;
  Call<v1::PullModelProgress> PullModel(const std::string& worker, v1::PullModelRequest request,
                                        base::SteadyTime deadline) override;

 private:
  mesh::Discovery* const workers_;
  mesh::FilesClient client_;
};

}  // namespace conclave::gateway
