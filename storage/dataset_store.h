// Datasets of tenants. Used by DatasetService and JobService. Thread-safe.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "pactory/v1/dataset.pb.h"
#include "storage/database.h"
#include "storage/page.h"
#include "storage/request_key.h"

namespace pactory {

/// Stores datasets; the calls behave as those of ModelStore.
class DatasetStore {
 public:
  explicit DatasetStore(Database* database) : database_(*database) {}

  absl::StatusOr<v1::Dataset> Create(const std::string& tenant_id, const v1::Dataset& dataset, const RequestKey& key);
  absl::StatusOr<std::optional<v1::Dataset>> FindByRequest(const std::string& tenant_id, const RequestKey& key);
  absl::StatusOr<v1::Dataset> Get(const std::string& tenant_id, const std::string& id);
  absl::StatusOr<v1::ListDatasetsResponse> List(const std::string& tenant_id, const PageRequest& page);
  absl::Status Delete(const std::string& tenant_id, const std::string& id);

 private:
  Database& database_;
};

}  // namespace pactory
