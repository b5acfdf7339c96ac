#include "engine/kernels/cuda/graph.cuh"

#include <algorithm>
#include <utility>

#include "engine/kernels/cuda/context.cuh"

namespace {

using Mode = StepGraphs::Mode;

constexpr int64_t kRowsMax = 64;  // beyond it kernels run longer than it takes to launch them
constexpr size_t kGraphsMax = 32;
constexpr int64_t kWaitMax = 1 << 20;

void CopyInputs(ConclaveCudaContext* c) {
  if (c->input_used == 0) return;
  const ConclaveCudaContext::InputChunk& chunk = c->inputs[0];
  Check(c,
        cudaMemcpyAsync(chunk.device, chunk.host, static_cast<size_t>(c->input_used),
                        cudaMemcpyHostToDevice, c->stream),
        "inputs");
}

void Forget(StepGraph& graph) {
  if (graph.graph != nullptr) cudaGraphExecDestroy(graph.graph);
  graph.graph = nullptr;
  graph.launches.clear();
  graph.seen = 0;
}

StepGraph& Find(StepGraphs& s, const StepShape& shape) {
  for (const auto& graph : s.graphs) {
    if (graph->shape == shape) return *graph;
  }
  if (s.graphs.size() == kGraphsMax) {
    const auto oldest =
        std::min_element(s.graphs.begin(), s.graphs.end(),
                         [](const auto& a, const auto& b) { return a->last_step < b->last_step; });
    Forget(**oldest);
    s.graphs.erase(oldest);
  }
  s.graphs.push_back(std::make_unique<StepGraph>());
  s.graphs.back()->shape = shape;
  return *s.graphs.back();
}

// Ends the recording; what was recorded, or none.
cudaGraph_t EndCapture(ConclaveCudaContext* c) {
  cudaGraph_t recorded = nullptr;
  Check(c, cudaStreamEndCapture(c->stream, &recorded), "recording the step");
  return recorded;
}

}  // namespace

void BeginStepGraph(ConclaveCudaContext* c, const StepShape& shape, bool fits) {
  StepGraphs& s = c->graphs;
  LeaveStepGraph(c);  // of a step that nobody has waited for
  if (!s.wanted || c->failed || !fits || shape.rows > kRowsMax || c->input_used > 0) return;
  StepGraph& graph = Find(s, shape);
  graph.last_step = ++s.steps;
  s.current = &graph;
  s.next = 0;
  if (graph.graph != nullptr) {
    s.mode = Mode::kReplaying;
  } else if (++graph.seen > graph.wait) {
    graph.launches.clear();
    // The step before has grown what is grown on demand.
    if (Check(c, cudaStreamBeginCapture(c->stream, cudaStreamCaptureModeRelaxed),
              "recording the step")) {
      s.mode = Mode::kRecording;
    }
  }
}

bool IsExpected(ConclaveCudaContext* c) {
  StepGraphs& s = c->graphs;
  if (s.next == s.current->launches.size() || !(s.current->launches[s.next].words == s.words)) {
    return false;
  }
  ++s.next;
  return true;
}

void Record(ConclaveCudaContext* c, std::function<void(cudaStream_t)> start) {
  c->graphs.current->launches.push_back({c->graphs.words, std::move(start)});
  ++c->graphs.next;
}

void LeaveStepGraph(ConclaveCudaContext* c) {
  StepGraphs& s = c->graphs;
  if (s.mode == Mode::kOff) return;
  if (s.mode == Mode::kRecording) {
    if (const cudaGraph_t recorded = EndCapture(c); recorded != nullptr) cudaGraphDestroy(recorded);
  }
  s.mode = Mode::kOff;
  CopyInputs(c);
  for (size_t i = 0; i < s.next && !c->failed; ++i) {
    s.current->launches[i].start(c->stream);
    Check(c, cudaGetLastError(), "a step anew");
  }
  Forget(*s.current);
  s.current->wait = std::min(s.current->wait * 4, kWaitMax);
}

void EndStepGraph(ConclaveCudaContext* c) {
  StepGraphs& s = c->graphs;
  if (s.mode == Mode::kReplaying && s.next < s.current->launches.size()) LeaveStepGraph(c);
  if (s.mode == Mode::kOff) return;
  if (s.mode == Mode::kRecording) {
    if (const cudaGraph_t recorded = EndCapture(c); recorded != nullptr) {
      Check(c, cudaGraphInstantiate(&s.current->graph, recorded, 0), "a graph of the step");
      cudaGraphDestroy(recorded);
    }
  }
  s.mode = Mode::kOff;
  CopyInputs(c);
  if (!c->failed) Check(c, cudaGraphLaunch(s.current->graph, c->stream), "starting the step");
}

void CloseStepGraphs(ConclaveCudaContext* c) {
  for (const auto& graph : c->graphs.graphs) Forget(*graph);
  c->graphs.graphs.clear();
}
