// Small graphs for tests, and one run of them.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "quant/execution/executor.h"
#include "quant/graph/graph.h"

namespace pactory::quant {

/// A node with one output, named after it.
inline Node NodeOf(std::string op, std::vector<std::string> inputs, std::string output,
                   std::map<std::string, Attribute> attributes = {}) {
  Node node;
  node.name = output + "_node";
  node.op_type = std::move(op);
  node.inputs = std::move(inputs);
  node.outputs = {std::move(output)};
  node.attributes = std::move(attributes);
  return node;
}

/// A graph with one float input `x` and one output `y`.
inline Graph GraphOf(std::vector<int64_t> dims, std::vector<Node> nodes,
                     std::map<std::string, at::Tensor> initializers = {}, int64_t opset = 13) {
  Graph graph;
  graph.opsets[""] = opset;
  graph.inputs = {{.name = "x", .dims = std::move(dims)}};
  graph.outputs = {{.name = "y"}};
  graph.nodes = std::move(nodes);
  graph.initializers = std::move(initializers);
  return graph;
}

/// Runs a graph of one output.
inline at::Tensor RunGraph(const Graph& graph, const std::vector<at::Tensor>& inputs) {
  auto executor = Executor::Create(graph);
  EXPECT_TRUE(executor.ok()) << executor.status();
  if (!executor.ok()) return {};
  auto outputs = (*executor)->Run(inputs);
  EXPECT_TRUE(outputs.ok()) << outputs.status();
  return outputs.ok() ? outputs->at(0) : at::Tensor();
}

/// The ops of a graph in order.
inline std::vector<std::string> OpsOf(const Graph& graph) {
  std::vector<std::string> ops;
  for (const Node& node : graph.nodes) ops.push_back(node.op_type);
  return ops;
}

}  // namespace pactory::quant
