// Hears PostgreSQL's notifications of new and cancelled jobs on a thread of its own. Used by the server to wake long
// polls and watchers; they poll too, for notifications get lost with their connection. Thread-safe.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <thread>

namespace pactory {

/// Listens from construction to destruction and reconnects by itself.
class NotificationListener {
 public:
  /// `on_notification` gets the payload, or "" after a (re)connection, when anything may have happened. It runs on the
  /// listener's thread and must not block.
  NotificationListener(std::string connection_string, std::string channel,
                       std::function<void(const std::string&)> on_notification);
  ~NotificationListener();

 private:
  void Run();
  void ListenUntilLost();

  const std::string connection_string_;
  const std::string channel_;
  const std::function<void(const std::string&)> on_notification_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace pactory
