#include "tests/postgres/test_database.h"

#include <pqxx/pqxx>

#include "base/ids.h"
#include "base/sha256.h"
#include "storage/blob_store.h"
#include "storage/migrator.h"
#include "tests/postgres/temporary_postgres.h"

namespace pactory {

void DatabaseTest::SetUp() {
  const auto cluster = TemporaryPostgres::Get();
  ASSERT_TRUE(cluster.ok()) << cluster.status();
  const auto url = (*cluster)->NewDatabase();
  ASSERT_TRUE(url.ok()) << url.status();
  url_ = *url;
  auto database = Database::Open({.url = url_, .pool_size = 16});
  ASSERT_TRUE(database.ok()) << database.status();
  database_ = *std::move(database);
  const auto migrations = EmbeddedMigrations();
  const auto migrated = Migrate(*database_, migrations, static_cast<int>(migrations.size()));
  ASSERT_TRUE(migrated.ok()) << migrated.status();
  tenant_ = Sql("SELECT id FROM tenant WHERE name = 'default'");
}

std::string DatabaseTest::Sql(const std::string& sql) {
  std::string first;
  const absl::Status status = database_->Query("test", [&](pqxx::transaction_base& statement) {
    const pqxx::result rows = statement.exec(sql);
    if (!rows.empty() && !rows[0][0].is_null()) first = rows[0][0].as<std::string>();
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status << " in " << sql;
  return first;
}

std::string DatabaseTest::NewTenant(const std::string& name) {
  return Sql("INSERT INTO tenant (name) VALUES ('" + name + "') RETURNING id");
}

std::string DatabaseTest::NewBlob(const std::string& tenant_id, const std::string& content) {
  BlobChunks chunks(database_->connection_string(), 1);
  BlobStore blobs(database_.get(), &chunks);
  const UploadSpec spec = {.tenant_id = tenant_id,
                           .upload_id = NewUuid(),
                           .sha256 = Sha256Hex(content),
                           .size_bytes = static_cast<int64_t>(content.size()),
                           .lease = std::nullopt};
  const auto begun = blobs.BeginUpload(spec);
  EXPECT_TRUE(begun.ok()) << begun.status();
  for (int64_t offset = 0; !begun->complete && offset < spec.size_bytes; offset += kBlobChunkSize) {
    const absl::Status stored = blobs.AppendChunk(
        {.tenant_id = tenant_id, .upload_id = spec.upload_id, .offset = offset, .lease = std::nullopt},
        absl::string_view(content).substr(offset, kBlobChunkSize));
    EXPECT_TRUE(stored.ok()) << stored;
  }
  const absl::Status finished = begun->complete ? absl::OkStatus() : blobs.FinishUpload(spec, "");
  EXPECT_TRUE(finished.ok()) << finished;
  return spec.sha256;
}

}  // namespace pactory
