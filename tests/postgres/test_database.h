// A migrated database of its own for each test, with a tenant or two. Used by the tests of storage and server.
#pragma once

#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "storage/database.h"

namespace pactory {

/// Base of tests that need a database.
class DatabaseTest : public ::testing::Test {
 protected:
  void SetUp() override;

  /// Runs SQL and returns the first field of the first row, "" where there is none.
  std::string Sql(const std::string& sql);

  /// Makes a tenant and returns its id.
  std::string NewTenant(const std::string& name);

  /// Makes a whole blob and returns its SHA-256.
  std::string NewBlob(const std::string& tenant_id, const std::string& content);

  std::string url_;
  std::unique_ptr<Database> database_;
  /// The tenant that every database has.
  std::string tenant_;
};

}  // namespace pactory
