#include "storage/notification_listener.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "storage/libpq_connection.h"

namespace pactory {
namespace {

// How long a stop may have to wait for the thread.
constexpr int kWaitMs = 250;

// A dead peer shows only when something is sent to it.
constexpr absl::Duration kPingEvery = absl::Seconds(10);

constexpr absl::Duration kReconnectAfter = absl::Seconds(1);

}  // namespace

NotificationListener::NotificationListener(std::string connection_string, std::string channel,
                                           std::function<void(const std::string&)> on_notification)
    : connection_string_(std::move(connection_string)),
      channel_(std::move(channel)),
      on_notification_(std::move(on_notification)),
      thread_([this] { Run(); }) {}

NotificationListener::~NotificationListener() {
  stopping_ = true;
  thread_.join();
}

void NotificationListener::Run() {
  while (!stopping_) {
    ListenUntilLost();
    const absl::Time next = absl::Now() + kReconnectAfter;
    while (!stopping_ && absl::Now() < next) absl::SleepFor(absl::Milliseconds(kWaitMs));
  }
}

void NotificationListener::ListenUntilLost() {
  auto connection = LibpqConnection::Open(connection_string_);
  if (!connection.ok()) return;
  if (!(*connection)->Exec("listen", absl::StrCat("LISTEN ", channel_).c_str(), {}).ok()) return;
  on_notification_("");
  absl::Time next_ping = absl::Now() + kPingEvery;
  while (!stopping_) {
    auto payloads = (*connection)->WaitForNotifications(kWaitMs);
    if (!payloads.ok()) return;
    for (const std::string& payload : *payloads) on_notification_(payload);
    if (absl::Now() < next_ping) continue;
    if (!(*connection)->Exec("listen.ping", "SELECT 1", {}).ok()) return;
    next_ping = absl::Now() + kPingEvery;
  }
}

}  // namespace pactory
