// G ranks as threads of one process: what data-parallel code does on G ranks, without MPI.
#pragma once

#include <torch/torch.h>

#include <condition_variable>
#include <cstring>
#include <exception>
#include <functional>
#include <mutex>
#include <string_view>
#include <thread>
#include <vector>

#include "comm/collective.h"

namespace recite {

class ThreadGroup {
 public:
  // Runs `body` on `size` threads, each with its end of one group; throws what the lowest failed rank threw. A rank
  // that throws releases the others with PeerLost.
  static void run(int size, const std::function<void(Group)>& body) {
    ThreadGroup group(size);
    std::vector<std::exception_ptr> failures(static_cast<size_t>(size));
    std::vector<std::thread> threads;
    for (int rank = 0; rank < size; ++rank) {
      threads.emplace_back([&, rank] {
        at::set_num_threads(1);
        End end(group, rank);
        try {
          body({end, end});
        } catch (...) {
          failures[static_cast<size_t>(rank)] = std::current_exception();
          group.give_up();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    rethrow_first(failures);
  }

 private:
  class End final : public Collective {
   public:
    End(ThreadGroup& group, int rank) : group_(group), rank_(rank) {}
    int rank() const override { return rank_; }
    int size() const override { return static_cast<int>(group_.offers_.size()); }

    void all_reduce_sum(void* data, size_t count, ElementType type) override {
      group_.offer(rank_, {"all-reduce", data, count, type});
      if (rank_ == 0) group_.add_up();
      group_.meet();
      std::memcpy(data, group_.sum_.data(), group_.sum_.size());
      group_.meet();
    }

    void broadcast(void* data, size_t count, ElementType type, int root) override {
      group_.offer(rank_, {"broadcast", data, count, type});
      if (rank_ != root) std::memcpy(data, group_.offers_[static_cast<size_t>(root)].data, count * bytes_of(type));
      group_.meet();
    }

    void start_reduce_scatter_sum(const void* data, void* part, size_t count, ElementType type) override {
      group_.offer(rank_, {"reduce-scatter", data, count * group_.offers_.size(), type});
      if (rank_ == 0) group_.add_up();
      group_.meet();
      const size_t bytes = count * bytes_of(type);
      std::memcpy(part, group_.sum_.data() + static_cast<size_t>(rank_) * bytes, bytes);
      group_.meet();
    }

    void start_all_gather(const std::vector<Gather>& of, size_t count, ElementType type) override {
      const size_t bytes = count * bytes_of(type);
      for (const auto& [part, all] : of) {
        group_.offer(rank_, {"all-gather", part, count, type});
        for (size_t rank = 0; rank < group_.offers_.size(); ++rank)
          std::memcpy(static_cast<char*>(all) + rank * bytes, group_.offers_[rank].data, bytes);
        group_.meet();
      }
    }

   private:
    ThreadGroup& group_;
    int rank_;
  };

  struct Offer {
    std::string_view operation;
    const void* data = nullptr;
    size_t count = 0;
    ElementType type = ElementType::bytes;
  };

  explicit ThreadGroup(int size) : offers_(static_cast<size_t>(size)) {}

  static size_t bytes_of(ElementType type) {
    switch (type) {
      case ElementType::float32:
        return 4;
      case ElementType::bytes:
        return 1;
      default:
        return 8;
    }
  }

  static void rethrow_first(const std::vector<std::exception_ptr>& failures) {
    std::exception_ptr lost;
    for (const std::exception_ptr& failure : failures) {
      if (!failure) continue;
      try {
        std::rethrow_exception(failure);
      } catch (const PeerLost&) {
        lost = failure;
      }
    }
    if (lost) std::rethrow_exception(lost);
  }

  void offer(int rank, const Offer& offered) {
    offers_[static_cast<size_t>(rank)] = offered;
    meet();
    const Offer& first = offers_.front();
    if (offered.operation != first.operation || offered.count != first.count || offered.type != first.type)
      throw Error("the ranks disagree on a collective");
  }

  void add_up() {
    const Offer& first = offers_.front();
    sum_.assign(first.count * bytes_of(first.type), 0);
    switch (first.type) {
      case ElementType::float32:
        return add_up_as<float>();
      case ElementType::float64:
        return add_up_as<double>();
      case ElementType::int64:
        return add_up_as<int64_t>();
      case ElementType::bytes:
        throw Error("bytes have no sum");
    }
  }

  template <class Number>
  void add_up_as() {
    auto* sum = reinterpret_cast<Number*>(sum_.data());
    for (const Offer& offer : offers_) {
      const auto* data = static_cast<const Number*>(offer.data);
      for (size_t i = 0; i < offer.count; ++i) sum[i] += data[i];
    }
  }

  // Returns when every rank has called it.
  void meet() {
    std::unique_lock lock(mutex_);
    const int64_t round = round_;
    if (++arrived_ == offers_.size()) {
      arrived_ = 0;
      ++round_;
      all_arrived_.notify_all();
    }
    all_arrived_.wait(lock, [&] { return round_ != round || given_up_; });
    if (round_ == round) throw PeerLost("a rank of the thread group failed");
  }

  void give_up() {
    const std::lock_guard lock(mutex_);
    given_up_ = true;
    all_arrived_.notify_all();
  }

  std::vector<Offer> offers_;
  std::vector<char> sum_;
  std::mutex mutex_;
  std::condition_variable all_arrived_;
  size_t arrived_ = 0;
  int64_t round_ = 0;
  bool given_up_ = false;
};

}  // namespace recite
