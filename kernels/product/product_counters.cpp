#include "kernels/product/product_counters.h"

#include <algorithm>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace recite::kernels {

namespace {

constexpr size_t spacing = 256;  // bytes from one to the next: workspaces begin at multiples

using Nodes = std::vector<cudaGraphNode_t>;

void check(cudaError_t error) {
  if (error != cudaSuccess)
    throw std::runtime_error(std::string("counters of products on the GPU: ") + cudaGetErrorString(error));
}

// What ask(nodes, count) gives, which is asked how many first.
template <class Ask>
Nodes nodes_of(const Ask& ask) {
  size_t found = 0;
  check(ask(nullptr, &found));
  Nodes nodes(found);
  if (found > 0) check(ask(nodes.data(), &found));
  return nodes;
}
Nodes all_of(cudaGraph_t graph) {
  return nodes_of([&](cudaGraphNode_t* to, size_t* size) { return cudaGraphGetNodes(graph, to, size); });
}
Nodes first_of(cudaGraph_t graph) {
  return nodes_of([&](cudaGraphNode_t* to, size_t* size) { return cudaGraphGetRootNodes(graph, to, size); });
}
Nodes before(cudaGraphNode_t node) {
  return nodes_of([&](cudaGraphNode_t* to, size_t* size) {
    std::vector<cudaGraphEdgeData> edges(to ? *size : 0);
    return cudaGraphNodeGetDependencies(node, to, to ? edges.data() : nullptr, size);
  });
}
Nodes after(cudaGraphNode_t node) {
  return nodes_of([&](cudaGraphNode_t* to, size_t* size) {
    std::vector<cudaGraphEdgeData> edges(to ? *size : 0);
    return cudaGraphNodeGetDependentNodes(node, to, to ? edges.data() : nullptr, size);
  });
}

void put_before(cudaGraph_t graph, cudaGraphNode_t node, const Nodes& others) {
  for (const cudaGraphNode_t other : others) check(cudaGraphAddDependencies(graph, &node, &other, nullptr, 1));
}

// What came after the node comes after what was before it.
void take_out(cudaGraph_t graph, cudaGraphNode_t node) {
  const Nodes earlier = before(node), later = after(node);
  check(cudaGraphDestroyNode(node));
  for (const cudaGraphNode_t from : earlier)
    for (const cudaGraphNode_t to : later) {
      const Nodes known = before(to);
      if (std::find(known.begin(), known.end(), from) == known.end()) put_before(graph, from, {to});
    }
}

}  // namespace

ProductCounters::ProductCounters() {
  void* memory = nullptr;
  check(cudaMalloc(&memory, spacing * count));
  memory_ = static_cast<unsigned char*>(memory);
}

void* ProductCounters::next() { return memory_ + spacing * (given_++ % count); }

void ProductCounters::clear_at_once(cudaGraph_t graph) const {
  std::map<unsigned char*, Nodes> clears;  // by counter
  for (const cudaGraphNode_t node : all_of(graph)) {
    cudaGraphNodeType type{};
    check(cudaGraphNodeGetType(node, &type));
    if (type != cudaGraphNodeTypeMemset) continue;
    cudaMemsetParams cleared{};
    check(cudaGraphMemsetNodeGetParams(node, &cleared));
    auto* const at = static_cast<unsigned char*>(cleared.dst);
    const bool ours = memory_ <= at && at < memory_ + spacing * count && (at - memory_) % spacing == 0;
    if (ours && cleared.value == 0) clears[at].push_back(node);
  }
  // A graph of more products than there are counters has several of one: those need each their own.
  std::erase_if(clears, [](const auto& of_counter) { return of_counter.second.size() > 1; });
  if (clears.empty()) return;
  for (const auto& [counter, nodes] : clears) take_out(graph, nodes.front());

  cudaMemsetParams all{};
  all.dst = clears.begin()->first;
  all.elementSize = 1;
  all.width = static_cast<size_t>(clears.rbegin()->first - clears.begin()->first) + largest_workspace;
  all.height = 1;
  const Nodes first = first_of(graph);
  cudaGraphNode_t node{};
  check(cudaGraphAddMemsetNode(&node, graph, nullptr, 0, &all));
  put_before(graph, node, first);
}

}  // namespace recite::kernels
