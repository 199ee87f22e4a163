#include "storage/blob_store.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <pqxx/pqxx>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "storage/blob_references.h"
#include "storage/row_fields.h"

namespace pactory {
namespace {

constexpr char kFindWhole[] = R"sql(
UPDATE blob SET use_time = now() WHERE tenant_id = $1 AND sha256 = $2 AND complete_time IS NOT NULL
RETURNING id, size_bytes)sql";

// What is known to be damaged is sent again.
constexpr char kFindSound[] = R"sql(
UPDATE blob SET use_time = now() WHERE tenant_id = $1 AND sha256 = $2 AND complete_time IS NOT NULL AND NOT damaged
RETURNING id, size_bytes)sql";

constexpr char kFindUpload[] = R"sql(
SELECT b.id, u.committed_size, b.complete_time IS NOT NULL, b.sha256, b.size_bytes
FROM blob_upload u JOIN blob b ON b.id = u.blob_id WHERE u.tenant_id = $1 AND u.upload_id = $2)sql";

constexpr char kStartUpload[] = R"sql(
WITH made AS (INSERT INTO blob (tenant_id, sha256, size_bytes) VALUES ($1, $3, $4) RETURNING id)
INSERT INTO blob_upload (tenant_id, upload_id, blob_id) SELECT $1, $2, id FROM made)sql";

// A worker's blob becomes whole only while its lease is held; the lock keeps the reaper out until the commit.
constexpr char kHoldLease[] = "SELECT 1 FROM job_lease WHERE job_id = $1 AND fence = $2 FOR KEY SHARE";

constexpr char kComplete[] = R"sql(
UPDATE blob SET complete_time = now(), use_time = now()
WHERE id = (SELECT blob_id FROM blob_upload WHERE tenant_id = $1 AND upload_id = $2 AND committed_size = $3)
  AND complete_time IS NULL)sql";

// Another upload of the same content was first: this one becomes a name of that blob.
constexpr char kJoinWhole[] = R"sql(
WITH whole AS (
  SELECT id, damaged FROM blob WHERE tenant_id = $1 AND sha256 = $3 AND complete_time IS NOT NULL FOR UPDATE
), mine AS (
  SELECT blob_id FROM blob_upload WHERE tenant_id = $1 AND upload_id = $2
), joined AS (
  UPDATE blob_upload u SET blob_id = whole.id, update_time = now() FROM whole
  WHERE u.tenant_id = $1 AND u.upload_id = $2 AND u.blob_id <> whole.id RETURNING whole.id, whole.damaged
)
SELECT mine.blob_id, joined.id, joined.damaged FROM mine, joined)sql";

constexpr char kMarkDamaged[] = "UPDATE blob SET damaged = true WHERE id = $1 AND NOT damaged";
constexpr char kDropChunks[] = "DELETE FROM blob_chunk WHERE blob_id = $1";
constexpr char kMoveChunks[] = "UPDATE blob_chunk SET blob_id = $2 WHERE blob_id = $1";
constexpr char kMarkSound[] = "UPDATE blob SET damaged = false WHERE id = $1";

constexpr char kDropUpload[] =
    "DELETE FROM blob WHERE complete_time IS NULL AND id = (SELECT blob_id FROM blob_upload WHERE tenant_id = $1 AND "
    "upload_id = $2)";

constexpr char kDropOldUploads[] = R"sql(
WITH old AS (
  DELETE FROM blob_upload WHERE update_time < now() - $1::interval RETURNING blob_id
)
DELETE FROM blob USING old WHERE blob.id = old.blob_id AND blob.complete_time IS NULL)sql";

constexpr char kUnusedBlobs[] =
    "SELECT b.id FROM blob b WHERE b.complete_time IS NOT NULL AND b.use_time < now() - $1::interval "
    "AND " PACTORY_UNREFERENCED " LIMIT 100";

constexpr char kOldCheckpoints[] =
    "SELECT b.id FROM superseded_checkpoint s JOIN blob b ON b.id = s.blob_id "
    "WHERE s.time < now() - $1::interval AND b.use_time < now() - $1::interval AND " PACTORY_UNREFERENCED " LIMIT 100";

// Somebody may have asked for the blob since it was chosen; then it stays.
constexpr char kRemoveUnused[] = "DELETE FROM blob WHERE id = $1 AND use_time < now() - $2::interval RETURNING id";

absl::Status DigestMismatch(const UploadSpec& spec, absl::string_view digest) {
  return WithReason(
      InvalidField("sha256", absl::StrCat("must be the digest of the bytes that were sent; send them again under a new "
                                          "upload_id: promised=",
                                          spec.sha256, " computed=", digest)),
      "DIGEST_MISMATCH");
}

UploadState StateOf(const pqxx::row& row) {
  return {.blob_id = row[0].as<std::string>(), .committed_size = row[1].as<int64_t>(), .complete = row[2].as<bool>()};
}

}  // namespace

absl::Status BlobNotFound(absl::string_view sha256) {
  return WithReason(absl::NotFoundError(absl::StrCat("there is no such blob; upload it first: blobs/", sha256)),
                    "NOT_FOUND");
}

absl::StatusOr<UploadState> BlobStore::BeginUpload(const UploadSpec& spec) {
  UploadState state;
  const auto find = [&](pqxx::transaction_base& transaction, const pqxx::result& found) -> absl::Status {
    state = StateOf(found[0]);
    if (found[0][3].as<std::string>() != spec.sha256 || found[0][4].as<int64_t>() != spec.size_bytes) {
      return InvalidField("upload_id",
                          absl::StrCat("must be new for other bytes; it was started with sha256=",
                                       found[0][3].as<std::string>(), " size_bytes=", found[0][4].as<int64_t>()));
    }
    return absl::OkStatus();
  };
  const absl::Status begun =
      database_.TransactRepeatable("blob.begin_upload", [&](pqxx::transaction_base& transaction) -> absl::Status {
        const pqxx::result whole = transaction.exec_params(kFindSound, spec.tenant_id, spec.sha256);
        if (!whole.empty()) {
          state = {
              .blob_id = whole[0][0].as<std::string>(), .committed_size = whole[0][1].as<int64_t>(), .complete = true};
          if (state.committed_size != spec.size_bytes) {
            return InvalidField("size_bytes",
                                absl::StrCat("must be the size of the blob with this digest: ", state.committed_size));
          }
          return absl::OkStatus();
        }
        pqxx::result found = transaction.exec_params(kFindUpload, spec.tenant_id, spec.upload_id);
        if (found.empty()) {
          transaction.exec_params(kStartUpload, spec.tenant_id, spec.upload_id, spec.sha256, spec.size_bytes);
          found = transaction.exec_params(kFindUpload, spec.tenant_id, spec.upload_id);
        }
        return find(transaction, found);
      });
  if (!absl::IsAlreadyExists(begun)) {
    PACTORY_RETURN_IF_ERROR(begun);
    return state;
  }
  // Two first messages of one upload raced: the other one made the rows.
  PACTORY_RETURN_IF_ERROR(database_.Query("blob.find_upload", [&](pqxx::transaction_base& statement) -> absl::Status {
    const pqxx::result found = statement.exec_params(kFindUpload, spec.tenant_id, spec.upload_id);
    return found.empty() ? begun : find(statement, found);
  }));
  return state;
}

absl::StatusOr<UploadState> BlobStore::GetUpload(const std::string& tenant_id, const std::string& upload_id) {
  UploadState state;
  PACTORY_RETURN_IF_ERROR(database_.Query("blob.find_upload", [&](pqxx::transaction_base& statement) -> absl::Status {
    const pqxx::result found = statement.exec_params(kFindUpload, tenant_id, upload_id);
    if (found.empty()) {
      return WithReason(absl::NotFoundError(absl::StrCat("there is no such upload: ", upload_id)), "NOT_FOUND");
    }
    state = StateOf(found[0]);
    if (state.complete) state.committed_size = found[0][4].as<int64_t>();
    return absl::OkStatus();
  }));
  return state;
}

absl::Status BlobStore::FinishUpload(const UploadSpec& spec, const std::string& digest) {
  PACTORY_ASSIGN_OR_RETURN(const UploadState state, GetUpload(spec.tenant_id, spec.upload_id));
  if (state.complete) return absl::OkStatus();
  if (state.committed_size != spec.size_bytes) {
    return InvalidField("finish_write", absl::StrCat("must come after the last byte: committed=", state.committed_size,
                                                     " size_bytes=", spec.size_bytes));
  }
  std::string computed = digest;
  if (computed.empty()) {
    PACTORY_ASSIGN_OR_RETURN(computed, DigestOfChunks(state.blob_id, spec.size_bytes));
  }
  if (computed != spec.sha256) {
    PACTORY_RETURN_IF_ERROR(database_.Query("blob.drop_upload", [&](pqxx::transaction_base& statement) {
      statement.exec_params0(kDropUpload, spec.tenant_id, spec.upload_id);
      return absl::OkStatus();
    }));
    return DigestMismatch(spec, computed);
  }
  const auto hold_lease = [&](pqxx::transaction_base& transaction) -> absl::Status {
    if (!spec.lease.has_value()) return absl::OkStatus();
    const pqxx::result held = transaction.exec_params(kHoldLease, spec.lease->job_id, spec.lease->fence);
    return held.empty() ? LeaseLost(*spec.lease) : absl::OkStatus();
  };
  const absl::Status finished =
      database_.TransactRepeatable("blob.finish_upload", [&](pqxx::transaction_base& transaction) -> absl::Status {
        PACTORY_RETURN_IF_ERROR(hold_lease(transaction));
        transaction.exec_params0(kComplete, spec.tenant_id, spec.upload_id, spec.size_bytes);
        return absl::OkStatus();
      });
  if (!absl::IsAlreadyExists(finished)) return finished;
  return database_.TransactRepeatable("blob.join_whole", [&](pqxx::transaction_base& transaction) -> absl::Status {
    PACTORY_RETURN_IF_ERROR(hold_lease(transaction));
    const pqxx::result mine = transaction.exec_params(kJoinWhole, spec.tenant_id, spec.upload_id, spec.sha256);
    if (mine.empty()) return absl::OkStatus();
    const auto from = mine[0][0].as<std::string>();
    const auto whole = mine[0][1].as<std::string>();
    if (mine[0][2].as<bool>()) {
      transaction.exec_params0(kDropChunks, whole);
      transaction.exec_params0(kMoveChunks, from, whole);
      transaction.exec_params0(kMarkSound, whole);
      spdlog::info("a damaged blob was mended by an upload of its content: blobs/{}", spec.sha256);
    }
    transaction.exec_params0("DELETE FROM blob WHERE id = $1", from);
    return absl::OkStatus();
  });
}

absl::StatusOr<BlobInfo> BlobStore::Find(const std::string& tenant_id, const std::string& sha256) {
  BlobInfo blob;
  blob.sha256 = sha256;
  PACTORY_RETURN_IF_ERROR(database_.Query("blob.find", [&](pqxx::transaction_base& statement) -> absl::Status {
    const pqxx::result found = statement.exec_params(kFindWhole, tenant_id, sha256);
    if (found.empty()) return BlobNotFound(sha256);
    blob.id = found[0][0].as<std::string>();
    blob.size_bytes = found[0][1].as<int64_t>();
    return absl::OkStatus();
  }));
  return blob;
}

absl::StatusOr<std::string> BlobStore::ReadSome(const BlobInfo& blob, int64_t offset, int64_t size) {
  if (offset < 0 || offset >= blob.size_bytes || size <= 0) return std::string();
  PACTORY_ASSIGN_OR_RETURN(std::string chunk, ReadChunk(blob, offset / kBlobChunkSize));
  const int64_t start = offset % kBlobChunkSize;
  if (start == 0 && size >= static_cast<int64_t>(chunk.size())) return chunk;
  if (start >= static_cast<int64_t>(chunk.size())) return std::string();
  return chunk.substr(start, size);
}

absl::StatusOr<std::string> BlobStore::ReadChunk(const BlobInfo& blob, int64_t index) {
  absl::StatusOr<std::string> chunk = chunks_.Read(blob.id, index);
  if (!absl::IsDataLoss(chunk.status())) return chunk;
  spdlog::error("{}: blobs/{}", std::string(chunk.status().message()), blob.sha256);
  // Where it can't be marked now, the next read does.
  const absl::Status marked = database_.Query("blob.mark_damaged", [&](pqxx::transaction_base& statement) {
    statement.exec_params0(kMarkDamaged, blob.id);
    return absl::OkStatus();
  });
  if (!marked.ok()) spdlog::warn("a damaged blob could not be marked: {}", std::string(marked.message()));
  return WithReason(absl::DataLossError(absl::StrCat(chunk.status().message(), "; upload the same file again to mend it: blobs/",
                                                     blob.sha256)),
                    ReasonOf(chunk.status()));
}

absl::StatusOr<std::string> BlobStore::ReadExactly(const BlobInfo& blob, int64_t offset, int64_t size) {
  if (offset < 0 || size < 0 || offset > blob.size_bytes || size > blob.size_bytes - offset) {
    return absl::OutOfRangeError(
        absl::StrCat("the file ends too early: size=", blob.size_bytes, " wanted=", size, " at=", offset));
  }
  std::string bytes;
  while (static_cast<int64_t>(bytes.size()) < size) {
    PACTORY_ASSIGN_OR_RETURN(const std::string some, ReadSome(blob, offset + bytes.size(), size - bytes.size()));
    if (some.empty()) return absl::DataLossError("a stored blob is shorter than its size");
    bytes += some;
  }
  return bytes;
}

absl::StatusOr<std::string> BlobStore::DigestOfChunks(const std::string& blob_id, int64_t size_bytes) {
  Sha256 digest;
  for (int64_t index = 0; index * kBlobChunkSize < size_bytes; ++index) {
    PACTORY_ASSIGN_OR_RETURN(const std::string chunk, chunks_.Read(blob_id, index));
    digest.Update(chunk);
  }
  return digest.FinishHex();
}

absl::StatusOr<int> BlobStore::CollectGarbage(absl::Duration age) {
  PACTORY_RETURN_IF_ERROR(database_.TransactRepeatable("blob.drop_uploads", [&](pqxx::transaction_base& transaction) {
    transaction.exec_params0(kDropOldUploads, IntervalOf(age));
    return absl::OkStatus();
  }));
  return RemoveChosen(kUnusedBlobs, age);
}

absl::StatusOr<int> BlobStore::CollectCheckpoints(absl::Duration age) {
  PACTORY_ASSIGN_OR_RETURN(const int removed, RemoveChosen(kOldCheckpoints, age));
  // What is left is used by something else: no checkpoint to look after any more.
  PACTORY_RETURN_IF_ERROR(database_.Query("blob.forget_checkpoints", [&](pqxx::transaction_base& statement) {
    statement.exec_params0("DELETE FROM superseded_checkpoint WHERE time < now() - $1::interval - interval '1 day'",
                           IntervalOf(age));
    return absl::OkStatus();
  }));
  return removed;
}

absl::StatusOr<int> BlobStore::RemoveChosen(const char* chosen, absl::Duration age) {
  int removed = 0;
  for (int batch = 1; batch > 0; removed += batch) {
    std::vector<std::string> ids;
    PACTORY_RETURN_IF_ERROR(database_.Query("blob.choose", [&](pqxx::transaction_base& statement) {
      for (const auto& row : statement.exec_params(chosen, IntervalOf(age))) ids.push_back(row[0].as<std::string>());
      return absl::OkStatus();
    }));
    batch = 0;
    for (const std::string& id : ids) {
      bool gone = false;
      // A reference made since then stops the removal: the foreign keys say FAILED_PRECONDITION.
      const absl::Status status = database_.Query("blob.remove", [&](pqxx::transaction_base& statement) {
        gone = !statement.exec_params(kRemoveUnused, id, IntervalOf(age)).empty();
        return absl::OkStatus();
      });
      if (status.ok() && gone) ++batch;
      if (!status.ok() && !absl::IsFailedPrecondition(status)) return status;
    }
  }
  return removed;
}

}  // namespace pactory
