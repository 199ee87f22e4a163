#include "storage/blob_chunks.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "storage/crc32c.h"

namespace pactory {
namespace {

// The key-share lock keeps the reaper from taking the lease away between the check and the write, and lets heartbeats
// pass.
constexpr char kAppendChunk[] = R"sql(
WITH held AS (
  SELECT 1 FROM job_lease WHERE job_id = $6::uuid AND fence = $7::bigint FOR KEY SHARE
), moved AS (
  UPDATE blob_upload SET committed_size = committed_size + $4::bigint, update_time = now()
  WHERE tenant_id = $1::uuid AND upload_id = $2::uuid AND committed_size = $3::bigint
    AND ($6::uuid IS NULL OR EXISTS (SELECT 1 FROM held))
  RETURNING blob_id
)
INSERT INTO blob_chunk (blob_id, index, crc32c, data)
SELECT blob_id, $3::bigint / 1048576, $5::bigint, $8::bytea FROM moved
RETURNING index::bigint)sql";

constexpr char kLeaseHeld[] = "SELECT 1::bigint FROM job_lease WHERE job_id = $1::uuid AND fence = $2::bigint";

constexpr char kRead[] = "SELECT crc32c, data FROM blob_chunk WHERE blob_id = $1::uuid AND index = $2::integer";

constexpr absl::Duration kPoolWait = absl::Seconds(5);

}  // namespace

BlobChunks::BlobChunks(std::string connection_string, int pool_size)
    : connection_string_(std::move(connection_string)),
      pool_(
          pool_size, [this] { return LibpqConnection::Open(connection_string_); },
          [](LibpqConnection& connection) { return connection.IsUsable(); }) {}

absl::StatusOr<LibpqResult> BlobChunks::Exec(absl::string_view name, const char* sql,
                                             const std::vector<LibpqParam>& params) {
  PACTORY_ASSIGN_OR_RETURN(auto connection, pool_.Acquire(kPoolWait));
  auto result = connection->Exec(name, sql, params);
  if (absl::IsUnavailable(result.status())) {
    connection.Discard();
    pool_.DropIdle();
  }
  return result;
}

absl::Status BlobChunks::Append(const Place& place, absl::string_view data) {
  using Format = LibpqParam::Format;
  const std::string offset = absl::StrCat(place.offset);
  const std::string size = absl::StrCat(data.size());
  const std::string crc = absl::StrCat(Crc32c(data));
  const std::string fence = place.lease.has_value() ? absl::StrCat(place.lease->fence) : "";
  LibpqParam lease_job;
  LibpqParam lease_fence;
  if (place.lease.has_value()) {
    lease_job.value = place.lease->job_id;
    lease_fence.value = fence;
  }
  PACTORY_ASSIGN_OR_RETURN(const LibpqResult stored, Exec("blob.append_chunk", kAppendChunk,
                                                          {{place.tenant_id},
                                                           {place.upload_id},
                                                           {offset},
                                                           {size},
                                                           {crc},
                                                           lease_job,
                                                           lease_fence,
                                                           {data, Format::kBinary}}));
  if (stored.rows() == 1) return absl::OkStatus();
  if (place.lease.has_value()) {
    PACTORY_ASSIGN_OR_RETURN(const LibpqResult held, Exec("blob.lease_held", kLeaseHeld, {lease_job, lease_fence}));
    if (held.rows() == 0) return LeaseLost(*place.lease);
  }
  return WithReason(absl::AbortedError(
                        absl::StrCat("the upload must stand at the offset written; ask QueryWriteStatus and go on from "
                                     "there: upload=",
                                     place.upload_id, " offset=", place.offset)),
                    "WRONG_OFFSET");
}

absl::StatusOr<std::string> BlobChunks::Read(const std::string& blob_id, int64_t index) {
  const std::string index_text = absl::StrCat(index);
  PACTORY_ASSIGN_OR_RETURN(const LibpqResult found, Exec("blob.read_chunk", kRead, {{blob_id}, {index_text}}));
  if (found.rows() == 0) return absl::NotFoundError(absl::StrCat("the blob has no such chunk: index=", index));
  const absl::string_view data = found.Bytes(0, 1);
  if (Crc32c(data) != static_cast<uint32_t>(found.Int64(0, 0))) {
    return WithReason(absl::DataLossError(absl::StrCat("the checksum of a stored chunk is wrong: index=", index)),
                      "CHUNK_DAMAGED");
  }
  return std::string(data);
}

}  // namespace pactory
