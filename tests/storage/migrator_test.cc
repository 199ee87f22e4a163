#include "storage/migrator.h"

#include <set>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "gtest/gtest.h"
#include "pactory/v1/job.pb.h"
#include "tests/postgres/temporary_postgres.h"
#include "tests/postgres/test_database.h"

namespace pactory {
namespace {

int Newest() { return static_cast<int>(EmbeddedMigrations().size()); }

constexpr char kTables[] =
    "SELECT string_agg(table_name || '.' || column_name || ':' || data_type, ',' ORDER BY table_name, column_name) "
    "FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'schema_migration' "
    // The tables of single days are those of the day of the test.
    "AND table_name !~ '^job_metric_[0-9]+$'";

using MigratorTest = DatabaseTest;

TEST_F(MigratorTest, DownAndUpAgainGivesTheSameSchemaOnAnEmptyDatabase) {
  const std::string before = Sql(kTables);
  ASSERT_NE(before, "");
  ASSERT_TRUE(Migrate(*database_, EmbeddedMigrations(), 0).ok());
  EXPECT_EQ(Sql(kTables), "");
  EXPECT_EQ(Sql("SELECT count(*) FROM pg_type WHERE typname IN ('job_state', 'token_kind', 'dataset_format', 'worker_kind')"), "0");
  ASSERT_TRUE(Migrate(*database_, EmbeddedMigrations(), Newest()).ok());
  EXPECT_EQ(Sql(kTables), before);
}

// Every table holds a row, so that no down step may count on an empty one.
TEST_F(MigratorTest, DownAndUpAgainGivesTheSameSchemaOnAFilledDatabase) {
  const std::string before = Sql(kTables);
  NewBlob(tenant_, "content");
  Sql("INSERT INTO api_token (tenant_id, kind, name, secret_sha256) SELECT id, 'USER', 'n', 'x' FROM tenant");
  Sql("INSERT INTO model (tenant_id, display_name, blob_id, facts) SELECT tenant_id, 'm', id, '' FROM blob");
  Sql("INSERT INTO dataset (tenant_id, display_name, blob_id, format, facts) SELECT tenant_id, 'd', id, 'NPZ', '' FROM blob");
  Sql("INSERT INTO worker (id, display_name, capabilities) VALUES (gen_random_uuid(), 'w', '')");
  Sql("INSERT INTO job (tenant_id, display_name, spec, model_id, priority, max_attempts, deadline, checkpoint_blob_id) "
      "SELECT m.tenant_id, 'j', '', m.id, 0, 3, '1 day', m.blob_id FROM model m");
  Sql("INSERT INTO job_ready (job_id, tenant_id, priority, create_time) SELECT id, tenant_id, 0, create_time FROM job");
  Sql("INSERT INTO job_lease (job_id, fence, tenant_id, worker_id, lease_until, deadline_time) "
      "SELECT j.id, 1, j.tenant_id, w.id, now(), now() FROM job j, worker w");
  Sql("INSERT INTO job_event (job_id, kind, fence) SELECT id, 'CREATED', 0 FROM job");
  Sql("INSERT INTO job_metric (job_id, fence, batch, name, step, value, time) SELECT id, 1, 1, 'l', 1, 1, now() FROM "
      "job");
  Sql("INSERT INTO artifact (job_id, name, fence, blob_id, media_type) SELECT j.id, 'a', 1, b.id, 't' FROM job j, blob "
      "b");
  Sql("INSERT INTO tenant_share (tenant_id) SELECT id FROM tenant");
  Sql("INSERT INTO share_settlement (tenant_id, charged, seconds) SELECT id, 60, 1 FROM tenant");
  Sql("INSERT INTO superseded_checkpoint (blob_id) SELECT id FROM blob");
  for (int version = Newest() - 1; version >= 0; --version) {
    const auto report = Migrate(*database_, EmbeddedMigrations(), version);
    ASSERT_TRUE(report.ok()) << version << ": " << report.status();
  }
  EXPECT_EQ(Sql(kTables), "");
  ASSERT_TRUE(Migrate(*database_, EmbeddedMigrations(), Newest()).ok());
  EXPECT_EQ(Sql(kTables), before);
}

TEST_F(MigratorTest, ServersThatStartTogetherMigrateOnce) {
  const auto cluster = TemporaryPostgres::Get();
  const auto database = Database::Open({.url = *(*cluster)->NewDatabase(), .pool_size = 8});
  std::vector<std::thread> servers;
  std::vector<absl::Status> results(4);
  for (absl::Status& result : results) {
    servers.emplace_back([&] { result = Migrate(**database, EmbeddedMigrations(), Newest()).status(); });
  }
  for (std::thread& server : servers) server.join();
  for (const absl::Status& result : results) EXPECT_TRUE(result.ok()) << result;
  EXPECT_EQ(*SchemaVersion(**database), Newest());
}

TEST_F(MigratorTest, AChangedMigrationIsRefused) {
  std::vector<Migration> changed = EmbeddedMigrations();
  changed[1].checksum = "other";
  const auto report = Migrate(*database_, changed, Newest());
  EXPECT_TRUE(absl::IsFailedPrecondition(report.status())) << report.status();
  EXPECT_EQ(ReasonOf(report.status()), "SCHEMA_CHANGED");
}

TEST_F(MigratorTest, AnOlderProgramLeavesANewerDatabaseAlone) {
  std::vector<Migration> older = EmbeddedMigrations();
  older.pop_back();
  const auto report = Migrate(*database_, older, static_cast<int>(older.size()));
  EXPECT_EQ(ReasonOf(report.status()), "SCHEMA_NEWER");
  EXPECT_EQ(*SchemaVersion(*database_), Newest());
}

TEST_F(MigratorTest, AFailedStepLeavesTheDatabaseAtTheLastWholeOne) {
  std::vector<Migration> broken = EmbeddedMigrations();
  broken.push_back({.number = Newest() + 1,
                    .name = "break",
                    .up = "CREATE TABLE half (); SELECT 1 / 0",
                    .down = "",
                    .checksum = "c"});
  EXPECT_FALSE(Migrate(*database_, broken, Newest() + 1).ok());
  EXPECT_EQ(*SchemaVersion(*database_), Newest());
  EXPECT_EQ(Sql("SELECT to_regclass('half') IS NULL"), "t");
}

TEST_F(MigratorTest, TheStatesOfTheDatabaseAreThoseOfTheContract) {
  std::set<std::string> contract;
  for (int state = v1::Job::PENDING; state <= v1::Job::State_MAX; ++state)
    contract.insert(v1::Job::State_Name(static_cast<v1::Job::State>(state)));
  std::string names;
  for (const std::string& name : contract) names += (names.empty() ? "" : ",") + name;
  EXPECT_EQ(Sql("SELECT string_agg(enumlabel, ',' ORDER BY enumlabel COLLATE \"C\") FROM pg_enum JOIN pg_type t ON "
                "t.oid = enumtypid WHERE typname = 'job_state'"),
            names);
}

// A heartbeat must stay within its page: no index may hold what it changes.
TEST_F(MigratorTest, HeartbeatsTouchNoIndexedColumn) {
  EXPECT_EQ(Sql("SELECT count(*) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY "
                "(i.indkey) "
                "WHERE i.indrelid = 'job_lease'::regclass AND a.attname IN ('lease_until', 'heartbeat_time', "
                "'progress', 'metric_batch', 'stall_time', 'preempted')"),
            "0");
  EXPECT_EQ(
      Sql("SELECT array_to_string(reloptions, ',') LIKE '%fillfactor=50%' FROM pg_class WHERE relname = 'job_lease'"),
      "t");
  // What changes all the time must not wait for a fifth of the table to be dead.
  EXPECT_EQ(Sql("SELECT count(*) FROM pg_class WHERE relname IN ('job_ready', 'job_lease', 'worker', 'blob_upload', "
                "'superseded_checkpoint', 'tenant_share', 'share_settlement') AND array_to_string(reloptions, ',') LIKE "
                "'%autovacuum_vacuum_scale_factor=0,%'"),
            "7");
  EXPECT_EQ(Sql("SELECT attstorage FROM pg_attribute WHERE attrelid = 'blob_chunk'::regclass AND attname = 'data'"),
            "e");
}

}  // namespace
}  // namespace pactory
