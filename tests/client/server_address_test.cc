#include "client/server_address.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/server_posix.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>

#include "gtest/gtest.h"
#include "pactory/v1/blob.grpc.pb.h"

namespace pactory {
namespace {

TEST(ServerAddressTest, AServerThatIsSlowToGreetIsWaitedFor) {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(listen(listener, 8), 0);
  ASSERT_EQ(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);

  v1::BlobService::Service service;
  grpc::ServerBuilder builder;
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  // The kernel takes the connection at once; nobody speaks on it for a while.
  std::thread greeter([&] {
    const int connection = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
    std::this_thread::sleep_for(std::chrono::seconds(1));
    grpc::AddInsecureChannelFromFd(server.get(), connection);
  });
  ServerAddress place;
  place.target = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
  const auto channel = OpenChannel(place);
  ASSERT_TRUE(channel.ok()) << channel.status();
  grpc::ClientContext context;
  PrepareCall("", absl::Seconds(20), context);
  v1::QueryWriteStatusRequest request;
  v1::QueryWriteStatusResponse response;
  const grpc::Status status = v1::BlobService::NewStub(*channel)->QueryWriteStatus(&context, request, &response);
  // The answer of a service that does nothing: it was reached.
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED) << status.error_message();
  greeter.join();
  server->Shutdown();
  close(listener);
}

}  // namespace
}  // namespace pactory
