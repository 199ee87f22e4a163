// The server with TLS, as a client with the right and with no certificate authority sees it.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "gtest/gtest.h"
#include "tests/server/server_fixture.h"

namespace pactory {
namespace {

namespace fs = std::filesystem;

class TlsTest : public ServerTest {
 protected:
  void SetUp() override {
    std::string folder = (fs::temp_directory_path() / "pactory-tls-XXXXXX").string();
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    folder_ = folder;
    const std::string command =
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 "
        "-keyout " +
        folder + "/key.pem -out " + folder + "/cert.pem 2>/dev/null";
    if (std::system(command.c_str()) != 0) GTEST_SKIP() << "the openssl program is not installed";
    options_.tls_cert_file = folder + "/cert.pem";
    options_.tls_key_file = folder + "/key.pem";
    ServerTest::SetUp();
  }

  void TearDown() override {
    ServerTest::TearDown();
    std::error_code error;
    fs::remove_all(folder_, error);
  }

  grpc::Status GetStatus(const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
    const auto stub = v1::StatusService::NewStub(grpc::CreateChannel(server_->grpc_address(), credentials));
    v1::GetStatusResponse response;
    return Call(&v1::StatusService::Stub::GetStatus, *stub, user_, v1::GetStatusRequest(), response);
  }

  fs::path folder_;
};

TEST_F(TlsTest, OnlyAClientThatTrustsTheCertificateGetsThrough) {
  std::stringstream certificate;
  certificate << std::ifstream(options_.tls_cert_file).rdbuf();
  const grpc::Status trusted = GetStatus(
      grpc::SslCredentials({.pem_root_certs = certificate.str(), .pem_private_key = "", .pem_cert_chain = ""}));
  EXPECT_TRUE(trusted.ok()) << trusted.error_message();
  EXPECT_EQ(GetStatus(grpc::SslCredentials({})).error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(GetStatus(grpc::InsecureChannelCredentials()).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(TlsTest, ACertificateWithoutItsKeyIsRefused) {
  ServerOptions options = options_;
  options.listen = "127.0.0.1:0";
  options.tls_key_file = "";
  EXPECT_TRUE(absl::IsInvalidArgument(Server::Start(options).status()));
  options.tls_key_file = "/nonexistent/key.pem";
  const auto missing = Server::Start(options);
  EXPECT_TRUE(absl::IsInvalidArgument(missing.status()));
  EXPECT_NE(std::string(missing.status().message()).find("/nonexistent/key.pem"), std::string::npos);
}

}  // namespace
}  // namespace pactory
