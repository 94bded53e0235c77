// The MPI backend of Collective: host memory, over a communicator of its own.
#pragma once

#include <mpi.h>

#include <exception>

#include "comm/transport.h"

namespace recite {

// Forms the communicator of `members` (a group of MPI_COMM_WORLD's processes) and owns it.
class MpiCollective final : public Collective {
 public:
  MpiCollective(MPI_Group members, const GroupRequest& request);
  ~MpiCollective() override;
  MpiCollective(const MpiCollective&) = delete;
  MpiCollective& operator=(const MpiCollective&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void all_reduce_sum(void* data, size_t count, ElementType type) override;
  void broadcast(void* data, size_t count, ElementType type, int root) override;
  void start_reduce_scatter_sum(const void* data, void* part, size_t count, ElementType type) override;
  void start_all_gather(const std::vector<Gather>& of, size_t count, ElementType type) override;

 private:
  void end(MPI_Request request, const char* what);
  [[noreturn]] void fail(int code, const char* what);
  void revoke();

  MPI_Comm comm_ = MPI_COMM_NULL;
  int rank_ = 0;
  int size_ = 1;
  bool broken_ = false;
  int exceptions_ = std::uncaught_exceptions();  // that were on their way when it was formed
  double deadline_;
  std::function<void()> while_waiting_;
};

// The library's text for an MPI error code.
std::string mpi_error(int code);

}  // namespace recite
