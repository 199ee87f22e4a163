#include "storage/dataset_store.h"

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

constexpr char kSelectDataset[] =
    "SELECT d.id, d.display_name, b.sha256, b.size_bytes, d.format, " PACTORY_MICROS("d.create_time")
    ", d.request_sha256, d.facts "
    "FROM dataset d JOIN blob b ON b.id = d.blob_id ";

constexpr char kInsertDataset[] = R"sql(
INSERT INTO dataset (tenant_id, display_name, blob_id, format, facts, request_id, request_sha256)
SELECT $1, $2, b.id, $4::dataset_format, $5, nullif($6, '')::uuid, $7 FROM blob b
WHERE b.tenant_id = $1 AND b.sha256 = $3 AND b.complete_time IS NOT NULL
ON CONFLICT (tenant_id, request_id) DO NOTHING RETURNING id)sql";

constexpr char kDatasetUsed[] =
    "SELECT id FROM job WHERE (train_dataset_id = $1 OR eval_dataset_id = $1) AND state IN ('PENDING', 'RUNNING', "
    "'CANCELLING') "
    "LIMIT 1";

absl::StatusOr<v1::Dataset> DatasetOf(const pqxx::row& row) {
  v1::Dataset dataset;
  if (!ParseBytes(row[7], dataset)) return absl::DataLossError("a stored dataset can't be read");
  dataset.set_name(absl::StrCat("datasets/", row[0].as<std::string>()));
  dataset.set_display_name(row[1].as<std::string>());
  dataset.set_blob(absl::StrCat("blobs/", row[2].as<std::string>()));
  dataset.set_size_bytes(row[3].as<int64_t>());
  v1::Dataset::Format format = v1::Dataset::FORMAT_UNSPECIFIED;
  v1::Dataset::Format_Parse(row[4].as<std::string>(), &format);
  dataset.set_format(format);
  *dataset.mutable_create_time() = TimestampOf(row[5]);
  return dataset;
}

absl::Status DatasetNotFound(const std::string& id) {
  return WithReason(absl::NotFoundError(absl::StrCat("there is no such dataset: datasets/", id)), "NOT_FOUND");
}

}  // namespace

absl::StatusOr<v1::Dataset> DatasetStore::Create(const std::string& tenant_id, const v1::Dataset& dataset,
                                                 const RequestKey& key) {
  v1::Dataset facts;
  *facts.mutable_arrays() = dataset.arrays();
  const std::string sha256 = IdOf("blobs", dataset.blob());
  std::string id;
  PACTORY_RETURN_IF_ERROR(database_.Query("dataset.create", [&](pqxx::transaction_base& statement) {
    const pqxx::result made =
        statement.exec_params(kInsertDataset, tenant_id, dataset.display_name(), sha256,
                              v1::Dataset::Format_Name(dataset.format()), BytesOf(facts), key.id, key.sha256);
    if (!made.empty()) id = made[0][0].as<std::string>();
    return absl::OkStatus();
  }));
  if (!id.empty()) return Get(tenant_id, id);
  PACTORY_ASSIGN_OR_RETURN(std::optional<v1::Dataset> earlier, FindByRequest(tenant_id, key));
  if (earlier.has_value()) return *std::move(earlier);
  return BlobNotFound(sha256);
}

absl::StatusOr<std::optional<v1::Dataset>> DatasetStore::FindByRequest(const std::string& tenant_id,
                                                                       const RequestKey& key) {
  std::optional<v1::Dataset> dataset;
  if (key.id.empty()) return dataset;
  PACTORY_RETURN_IF_ERROR(
      database_.Query("dataset.find_by_request", [&](pqxx::transaction_base& statement) -> absl::Status {
        const pqxx::result found = statement.exec_params(
            absl::StrCat(kSelectDataset, "WHERE d.tenant_id = $1 AND d.request_id = $2"), tenant_id, key.id);
        if (found.empty()) return absl::OkStatus();
        if (TextOr(found[0][6]) != key.sha256) return RequestIdReused(key);
        PACTORY_ASSIGN_OR_RETURN(dataset, DatasetOf(found[0]));
        return absl::OkStatus();
      }));
  return dataset;
}

absl::StatusOr<v1::Dataset> DatasetStore::Get(const std::string& tenant_id, const std::string& id) {
  if (!IsUuid(id)) return DatasetNotFound(id);
  v1::Dataset dataset;
  PACTORY_RETURN_IF_ERROR(database_.Query("dataset.get", [&](pqxx::transaction_base& statement) -> absl::Status {
    static const std::string* const sql = new std::string(absl::StrCat(kSelectDataset, "WHERE d.tenant_id = $1 AND d.id = $2"));
    const pqxx::result found = Run(statement, {"dataset.get", sql->c_str()}, tenant_id, id);
    if (found.empty()) return DatasetNotFound(id);
    PACTORY_ASSIGN_OR_RETURN(dataset, DatasetOf(found[0]));
    return absl::OkStatus();
  }));
  return dataset;
}

absl::StatusOr<v1::ListDatasetsResponse> DatasetStore::List(const std::string& tenant_id, const PageRequest& page) {
  const std::string scope = absl::StrCat("datasets|", tenant_id);
  PageCursor after = BeforeTheNewest();
  if (!page.token.empty()) {
    PACTORY_ASSIGN_OR_RETURN(after, DecodePageToken(page.token, scope));
  }
  v1::ListDatasetsResponse response;
  PACTORY_RETURN_IF_ERROR(database_.Query("dataset.list", [&](pqxx::transaction_base& statement) -> absl::Status {
    const pqxx::result rows = statement.exec_params(
        absl::StrCat(kSelectDataset, "WHERE d.tenant_id = $1 AND (d.create_time, d.id) < (" PACTORY_TIME(
                                         "$2") ", $3::uuid) "
                                               "ORDER BY d.create_time DESC, d.id DESC LIMIT $4"),
        tenant_id, after.position, after.id, page.size + 1);
    for (const auto& row : rows) {
      if (response.datasets_size() == page.size) {
        const auto& last = rows[page.size - 1];
        response.set_next_page_token(EncodePageToken({last[5].as<int64_t>(), last[0].as<std::string>()}, scope));
        break;
      }
      PACTORY_ASSIGN_OR_RETURN(*response.add_datasets(), DatasetOf(row));
    }
    return absl::OkStatus();
  }));
  return response;
}

absl::Status DatasetStore::Delete(const std::string& tenant_id, const std::string& id) {
  if (!IsUuid(id)) return DatasetNotFound(id);
  return database_.Transact("dataset.delete", [&](pqxx::transaction_base& transaction) -> absl::Status {
    // The lock comes first: a job that is being created holds a share of it until its row can be seen.
    const pqxx::result held =
        transaction.exec_params("SELECT 1 FROM dataset WHERE tenant_id = $1 AND id = $2 FOR UPDATE", tenant_id, id);
    if (held.empty()) return DatasetNotFound(id);
    const pqxx::result user = transaction.exec_params(kDatasetUsed, id);
    if (!user.empty()) {
      return WithReason(absl::FailedPreconditionError(
                            absl::StrCat("the dataset is used by a job that is not finished; cancel it or wait: jobs/",
                                         user[0][0].as<std::string>())),
                        "IN_USE");
    }
    transaction.exec_params0("DELETE FROM dataset WHERE id = $1", id);
    return absl::OkStatus();
  });
}

}  // namespace pactory
