// Times a blob's way into PostgreSQL and back, through gRPC as clients go, and by libpq alone with a table of the same shape in the same
// database. Both read a file and write one, and commit after each MiB. In turn, several times over, always with new content; a line of
// JSON with the rates, and ratios of the least times.
#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <libpq-fe.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/blob_download.h"
#include "client/blob_upload.h"
#include "client/cancellation.h"

namespace pactory {
namespace {

constexpr int64_t kMib = int64_t{1} << 20;

void Require(bool holds, const std::string& what) {
  if (holds) return;
  std::cerr << "transfer_benchmark: " << what << "\n";
  std::exit(1);
}

void WriteRandomFile(const std::string& path, int64_t mib, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::ofstream file(path, std::ios::binary);
  std::vector<uint64_t> chunk(kMib / sizeof(uint64_t));
  for (int64_t i = 0; i < mib; ++i) {
    std::generate(chunk.begin(), chunk.end(), [&] { return random(); });
    file.write(reinterpret_cast<const char*>(chunk.data()), kMib);
  }
  Require(file.good(), absl::StrCat("can't write ", path));
}

class Libpq {
 public:
  explicit Libpq(const std::string& url) : connection_(PQconnectdb(url.c_str()), PQfinish) {
    Require(PQstatus(connection_.get()) == CONNECTION_OK, PQerrorMessage(connection_.get()));
    Run("SET client_min_messages = warning");
    Run("DROP TABLE IF EXISTS transfer_peer");
    Run("CREATE TABLE transfer_peer (blob_id bigint, index integer, crc32c bigint, data bytea NOT NULL, PRIMARY KEY (blob_id, index))");
    Run("ALTER TABLE transfer_peer ALTER COLUMN data SET STORAGE EXTERNAL");
    Prepare("write", "INSERT INTO transfer_peer VALUES ($1::bigint, $2::integer, 0, $3::bytea)");
    Prepare("read", "SELECT data FROM transfer_peer WHERE blob_id = $1::bigint AND index = $2::integer");
  }
  ~Libpq() { Run("DROP TABLE transfer_peer"); }

  void Upload(const std::string& path, int round) {
    std::ifstream file(path, std::ios::binary);
    std::string chunk(kMib, '\0');
    for (int index = 0; file.read(chunk.data(), kMib); ++index) Exec("write", round, index, &chunk);
  }

  void Download(const std::string& path, int round, int64_t chunks) {
    std::ofstream file(path, std::ios::binary);
    for (int index = 0; index < chunks; ++index) {
      const auto found = Exec("read", round, index, nullptr);
      Require(PQntuples(found.get()) == 1, "a chunk is missing");
      file.write(PQgetvalue(found.get(), 0, 0), PQgetlength(found.get(), 0, 0));
    }
    file.close();
    Require(file.good(), "can't write the download");
    // As a client's download, which is on disk before it gets its name.
    const int fd = open(path.c_str(), O_WRONLY);
    Require(fd >= 0 && fsync(fd) == 0, "can't sync the download");
    close(fd);
  }

 private:
  using Result = std::unique_ptr<PGresult, decltype(&PQclear)>;

  Result Checked(PGresult* result) {
    const ExecStatusType status = PQresultStatus(result);
    Require(status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK, PQerrorMessage(connection_.get()));
    return {result, PQclear};
  }
  void Run(const char* sql) { Checked(PQexec(connection_.get(), sql)); }
  void Prepare(const char* name, const char* sql) { Checked(PQprepare(connection_.get(), name, sql, 0, nullptr)); }

  Result Exec(const char* name, int round, int index, const std::string* data) {
    const std::string round_text = absl::StrCat(round), index_text = absl::StrCat(index);
    const char* values[] = {round_text.c_str(), index_text.c_str(), data ? data->data() : nullptr};
    const int lengths[] = {0, 0, data ? static_cast<int>(data->size()) : 0};
    const int formats[] = {0, 0, 1};
    return Checked(PQexecPrepared(connection_.get(), name, data ? 3 : 2, values, lengths, formats, /*resultFormat=*/1));
  }

  std::unique_ptr<PGconn, decltype(&PQfinish)> connection_;
};

int Main(int argc, char** argv) {
  Require(argc == 6, "usage: transfer_benchmark SERVER POSTGRES_URL FOLDER MIB ROUNDS, with a user's token in PACTORY_TOKEN");
  const std::string folder = argv[3];
  const int64_t mib = std::atoll(argv[4]);
  const int rounds = std::atoi(argv[5]);
  const char* token = std::getenv("PACTORY_TOKEN");
  Require(token && mib > 0 && rounds > 0, "a token, a size and a number of rounds must be given");

  const auto stub = v1::BlobService::NewStub(grpc::CreateChannel(argv[1], grpc::InsecureChannelCredentials()));
  Cancellation cancellation;
  const BlobTransfer transfer{*stub, cancellation, token};
  Libpq libpq(argv[2]);
  std::map<std::string, std::vector<double>> seconds;
  const auto time = [&](const std::string& what, const std::function<void()>& run) {
    const absl::Time start = absl::Now();
    run();
    seconds[what].push_back(absl::ToDoubleSeconds(absl::Now() - start));
  };
  const std::string source = folder + "/source", copy = folder + "/copy";
  std::random_device seed;
  for (int round = 0; round < rounds; ++round) {
    WriteRandomFile(source, mib, (uint64_t{seed()} << 32) | seed());
    std::string blob;
    FileContent content;
    time("digest", [&] {
      const auto examined = ExamineFile(source);
      Require(examined.ok(), std::string(examined.status().message()));
      content = *examined;
    });
    const auto upload = [&] {
      const auto uploaded = UploadBlob(transfer, content, StableUploadId(content.sha256));
      Require(uploaded.ok(), std::string(uploaded.status().message()));
      blob = *uploaded;
    };
    const auto download = [&] {
      const absl::Status done = DownloadBlob(transfer, blob, copy);
      Require(done.ok(), std::string(done.message()));
    };
    // Who goes first changes from round to round: checkpoints of PostgreSQL fall on whoever is running.
    if (round % 2 == 0) time("upload", upload);
    time("libpq upload", [&] { libpq.Upload(source, round); });
    if (round % 2 == 1) time("upload", upload);
    if (round % 2 == 0) time("download", download);
    std::filesystem::remove(copy);
    time("libpq download", [&] { libpq.Download(copy, round, mib); });
    std::filesystem::remove(copy);
    if (round % 2 == 1) time("download", download);
    std::filesystem::remove(copy);
  }

  nlohmann::ordered_json report = {{"mib", mib}, {"rounds", rounds}};
  const auto least = [&](const std::string& what) { return *std::min_element(seconds[what].begin(), seconds[what].end()); };
  for (auto& [what, times] : seconds) {
    std::sort(times.begin(), times.end());
    report["mib_per_second"][what] = {{"best", static_cast<double>(mib) / times.front()},
                                      {"median", static_cast<double>(mib) / times[times.size() / 2]}};
  }
  report["ratios"]["transfers"] = {{"upload's time / libpq's", least("upload") / least("libpq upload")},
                                   {"download's time / libpq's", least("download") / least("libpq download")}};
  std::cout << report.dump() << "\n";
  return 0;
}

}  // namespace
}  // namespace pactory

int main(int argc, char** argv) { return pactory::Main(argc, argv); }
