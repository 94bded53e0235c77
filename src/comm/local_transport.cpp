#include <array>
#include <deque>
#include <mutex>

#include "comm/solo_group.h"
#include "comm/transport.h"

namespace recite {

namespace {

class Mailbox {
 public:
  void put(Message message) {
    const std::lock_guard guard(mutex_);
    messages_.push_back(std::move(message));
  }

  std::optional<Message> take() {
    const std::lock_guard guard(mutex_);
    if (messages_.empty()) return std::nullopt;
    Message first = std::move(messages_.front());
    messages_.pop_front();
    return first;
  }

 private:
  std::mutex mutex_;
  std::deque<Message> messages_;
};

using Mailboxes = std::array<Mailbox, 2>;

class LocalTransport final : public Transport {
 public:
  LocalTransport(int rank, std::shared_ptr<Mailboxes> boxes) : rank_(rank), boxes_(std::move(boxes)) {}

  int rank() const override { return rank_; }
  int size() const override { return 2; }
  std::string description() const override { return "one process"; }
  bool survives_lost_ranks() const override { return false; }
  void send(int to, std::string body) override { boxes_->at(to).put({rank_, std::move(body)}); }
  std::optional<Message> receive() override { return boxes_->at(rank_).take(); }
  std::vector<int> take_lost_ranks() override { return {}; }
  bool every_rank_lives() const override { return true; }
  std::unique_ptr<FormedGroup> form_group(const GroupRequest&) override { return std::make_unique<SoloGroup>(); }
  void leave(bool) override {}

 private:
  int rank_;
  std::shared_ptr<Mailboxes> boxes_;
};

}  // namespace

std::pair<std::unique_ptr<Transport>, std::unique_ptr<Transport>> make_local_transports() {
  const auto boxes = std::make_shared<Mailboxes>();
  return {std::make_unique<LocalTransport>(0, boxes), std::make_unique<LocalTransport>(1, boxes)};
}

}  // namespace recite
