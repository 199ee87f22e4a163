// A private PostgreSQL cluster for tests: started once per test program in a temporary folder, reachable by a Unix
// socket only, removed at the end. Used by the tests of storage, server and whatever else needs a database.
// Thread-safe.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace pactory {

class TemporaryPostgres {
 public:
  /// Returns the cluster of this process, which is started by the first call. FAILED_PRECONDITION where PostgreSQL is
  /// not installed.
  static absl::StatusOr<TemporaryPostgres*> Get();

  /// Makes an empty database and returns its URL.
  absl::StatusOr<std::string> NewDatabase();

  /// Stops the cluster at once, as a crash would, and starts it again.
  void Stop();
  void Start();

  /// Has all processes of the cluster stand still, as a host does whose disk hangs, and go on.
  void Freeze();
  void Thaw();

  ~TemporaryPostgres();

 private:
  TemporaryPostgres(std::string bin_dir, std::string folder);
  absl::Status Initialize();
  // Runs a program of PostgreSQL as a user who may: initdb and postgres refuse root.
  int Run(const std::string& command) const;
  void SignalAll(int signal) const;
  std::string Url(const std::string& database) const;

  const std::string bin_dir_;
  const std::string folder_;
  int databases_ = 0;
};

}  // namespace pactory
