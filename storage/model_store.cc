#include "storage/model_store.h"

#include <pqxx/pqxx>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/ids.h"
#include "base/status_macros.h"
#include "storage/blob_store.h"
#include "storage/row_fields.h"
#include "storage/statement.h"

namespace pactory {
namespace {

constexpr char kSelectModel[] =
    "SELECT m.id, m.display_name, b.sha256, b.size_bytes, m.facts, " PACTORY_MICROS("m.create_time")
    ", m.request_sha256 "
    "FROM model m JOIN blob b ON b.id = m.blob_id ";

constexpr char kInsertModel[] = R"sql(
INSERT INTO model (tenant_id, display_name, blob_id, facts, request_id, request_sha256)
SELECT $1, $2, b.id, $4, nullif($5, '')::uuid, $6 FROM blob b
WHERE b.tenant_id = $1 AND b.sha256 = $3 AND b.complete_time IS NOT NULL
ON CONFLICT (tenant_id, request_id) DO NOTHING RETURNING id)sql";

constexpr char kModelUsed[] =
    "SELECT id FROM job WHERE model_id = $1 AND state IN ('PENDING', 'RUNNING', 'CANCELLING') LIMIT 1";

absl::StatusOr<v1::Model> ModelOf(const pqxx::row& row) {
  v1::Model model;
  if (!ParseBytes(row[4], model)) return absl::DataLossError("a stored model can't be read");
  model.set_name(absl::StrCat("models/", row[0].as<std::string>()));
  model.set_display_name(row[1].as<std::string>());
  model.set_blob(absl::StrCat("blobs/", row[2].as<std::string>()));
  model.set_size_bytes(row[3].as<int64_t>());
  *model.mutable_create_time() = TimestampOf(row[5]);
  return model;
}

absl::Status ModelNotFound(const std::string& id) {
  return WithReason(absl::NotFoundError(absl::StrCat("there is no such model: models/", id)), "NOT_FOUND");
}

}  // namespace

absl::StatusOr<v1::Model> ModelStore::Create(const std::string& tenant_id, const v1::Model& model,
                                             const RequestKey& key) {
  v1::Model facts = model;
  facts.clear_name();
  facts.clear_blob();
  facts.clear_create_time();
  const std::string sha256 = IdOf("blobs", model.blob());
  std::string id;
  PACTORY_RETURN_IF_ERROR(database_.Query("model.create", [&](pqxx::transaction_base& statement) {
    const pqxx::result made = statement.exec_params(kInsertModel, tenant_id, model.display_name(), sha256,
                                                    BytesOf(facts), key.id, key.sha256);
    if (!made.empty()) id = made[0][0].as<std::string>();
    return absl::OkStatus();
  }));
  if (!id.empty()) return Get(tenant_id, id);
  PACTORY_ASSIGN_OR_RETURN(std::optional<v1::Model> earlier, FindByRequest(tenant_id, key));
  if (earlier.has_value()) return *std::move(earlier);
  return BlobNotFound(sha256);
}

absl::StatusOr<std::optional<v1::Model>> ModelStore::FindByRequest(const std::string& tenant_id,
                                                                   const RequestKey& key) {
  std::optional<v1::Model> model;
  if (key.id.empty()) return model;
  PACTORY_RETURN_IF_ERROR(
      database_.Query("model.find_by_request", [&](pqxx::transaction_base& statement) -> absl::Status {
        const pqxx::result found = statement.exec_params(
            absl::StrCat(kSelectModel, "WHERE m.tenant_id = $1 AND m.request_id = $2"), tenant_id, key.id);
        if (found.empty()) return absl::OkStatus();
        if (TextOr(found[0][6]) != key.sha256) return RequestIdReused(key);
        PACTORY_ASSIGN_OR_RETURN(model, ModelOf(found[0]));
        return absl::OkStatus();
      }));
  return model;
}

absl::StatusOr<v1::Model> ModelStore::Get(const std::string& tenant_id, const std::string& id) {
  if (!IsUuid(id)) return ModelNotFound(id);
  v1::Model model;
  PACTORY_RETURN_IF_ERROR(database_.Query("model.get", [&](pqxx::transaction_base& statement) -> absl::Status {
    static const std::string* const sql = new std::string(absl::StrCat(kSelectModel, "WHERE m.tenant_id = $1 AND m.id = $2"));
    const pqxx::result found = Run(statement, {"model.get", sql->c_str()}, tenant_id, id);
    if (found.empty()) return ModelNotFound(id);
    PACTORY_ASSIGN_OR_RETURN(model, ModelOf(found[0]));
    return absl::OkStatus();
  }));
  return model;
}

absl::StatusOr<v1::ListModelsResponse> ModelStore::List(const std::string& tenant_id, const PageRequest& page) {
  const std::string scope = absl::StrCat("models|", tenant_id);
  PageCursor after = BeforeTheNewest();
  if (!page.token.empty()) {
    PACTORY_ASSIGN_OR_RETURN(after, DecodePageToken(page.token, scope));
  }
  v1::ListModelsResponse response;
  PACTORY_RETURN_IF_ERROR(database_.Query("model.list", [&](pqxx::transaction_base& statement) -> absl::Status {
    const pqxx::result rows = statement.exec_params(
        absl::StrCat(kSelectModel, "WHERE m.tenant_id = $1 AND (m.create_time, m.id) < (" PACTORY_TIME(
                                       "$2") ", $3::uuid) "
                                             "ORDER BY m.create_time DESC, m.id DESC LIMIT $4"),
        tenant_id, after.position, after.id, page.size + 1);
    for (const auto& row : rows) {
      if (response.models_size() == page.size) {
        const auto& last = rows[page.size - 1];
        response.set_next_page_token(EncodePageToken({last[5].as<int64_t>(), last[0].as<std::string>()}, scope));
        break;
      }
      PACTORY_ASSIGN_OR_RETURN(*response.add_models(), ModelOf(row));
    }
    return absl::OkStatus();
  }));
  return response;
}

absl::Status ModelStore::Delete(const std::string& tenant_id, const std::string& id) {
  if (!IsUuid(id)) return ModelNotFound(id);
  return database_.Transact("model.delete", [&](pqxx::transaction_base& transaction) -> absl::Status {
    // The lock comes first: a job that is being created holds a share of it until its row can be seen.
    const pqxx::result held =
        transaction.exec_params("SELECT 1 FROM model WHERE tenant_id = $1 AND id = $2 FOR UPDATE", tenant_id, id);
    if (held.empty()) return ModelNotFound(id);
    const pqxx::result user = transaction.exec_params(kModelUsed, id);
    if (!user.empty()) {
      return WithReason(absl::FailedPreconditionError(
                            absl::StrCat("the model is used by a job that is not finished; cancel it or wait: jobs/",
                                         user[0][0].as<std::string>())),
                        "IN_USE");
    }
    transaction.exec_params0("DELETE FROM model WHERE id = $1", id);
    return absl::OkStatus();
  });
}

}  // namespace pactory
