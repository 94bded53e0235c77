// Numbers of any element type to and from arrays on the GPU.
#pragma once

#include <vector>

#include "tests/gpu/device_rows.h"

namespace recite::kernels {

// The numbers that Element makes of these.
template <class Element>
Array held(Array numbers) {
  for (double& number : numbers) number = number_of(element_of<Element>(number));
  return numbers;
}

template <class Element>
std::vector<Element> elements(const Array& numbers) {
  std::vector<Element> to;
  for (const double number : numbers) to.push_back(element_of<Element>(number));
  return to;
}

template <class Element>
Array numbers(const DeviceArray<Element>& array) {
  Array to;
  for (const Element element : array.values()) to.push_back(number_of(element));
  return to;
}

}  // namespace recite::kernels
