// What a refusal says.
#pragma once

#include <string>

#include "base/error.h"

namespace recite {

// The message of the UsageError that `act` throws; "taken" when it throws none.
template <class Act>
std::string refusal(Act act) {
  try {
    act();
  } catch (const UsageError& error) {
    return error.what();
  }
  return "taken";
}

}  // namespace recite
