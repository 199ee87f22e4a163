// Models of tenants. Used by ModelService and JobService. Thread-safe.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "pactory/v1/model.pb.h"
#include "storage/database.h"
#include "storage/page.h"
#include "storage/request_key.h"

namespace pactory {

/// Stores what was found in uploaded model files.
class ModelStore {
 public:
  explicit ModelStore(Database* database) : database_(*database) {}

  /// Stores a model whose facts are filled in; returns it with name and time. The same request key returns the model
  /// made first, another content under its id INVALID_ARGUMENT. NOT_FOUND where the blob is gone.
  absl::StatusOr<v1::Model> Create(const std::string& tenant_id, const v1::Model& model, const RequestKey& key);

  /// Returns the model made by an earlier call with this key; nullopt where there was none.
  absl::StatusOr<std::optional<v1::Model>> FindByRequest(const std::string& tenant_id, const RequestKey& key);

  /// Returns one model; NOT_FOUND, the same for one of another tenant.
  absl::StatusOr<v1::Model> Get(const std::string& tenant_id, const std::string& id);

  absl::StatusOr<v1::ListModelsResponse> List(const std::string& tenant_id, const PageRequest& page);

  /// Deletes a model; FAILED_PRECONDITION while a job that is not finished uses it.
  absl::Status Delete(const std::string& tenant_id, const std::string& id);

 private:
  Database& database_;
};

}  // namespace pactory
