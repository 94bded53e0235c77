// The group of one rank, the same in every transport.
#pragma once

#include "comm/transport.h"

namespace recite {

class SoloGroup final : public FormedGroup {
 public:
  Group group() override { return {solo_, solo_}; }

 private:
  SoloCollective solo_;
};

}  // namespace recite
