#include "engine/kernels/cuda/graph.cuh"

#include <algorithm>
#include <utility>

#include "engine/kernels/cuda/context.cuh"

namespace {

using Mode = StepGraphs::Mode;

constexpr int64_t kRowsMax = 64;  // beyond it kernels run longer than it takes to launch them
constexpr size_t kShapesMax = 32;
constexpr int64_t kWaitMax = 1 << 20;

void CopyInputs(ConclaveCudaContext* c) {
  const int64_t copied = c->input_copied;
  if (c->input_chunk > 0 || c->input_used == copied) return;
  const ConclaveCudaContext::InputChunk& chunk = c->inputs[0];
  c->input_copied = c->input_used;
  Check(c,
        cudaMemcpyAsync(chunk.device + copied, chunk.host + copied,
                        static_cast<size_t>(c->input_used - copied), cudaMemcpyHostToDevice,
                        c->stream),
        "inputs");
}

void Forget(StepGraph& graph) {
  if (graph.graph != nullptr) cudaGraphExecDestroy(graph.graph);
  graph.graph = nullptr;
  graph.launches.clear();
  graph.seen = 0;
}

ShapeGraphs& Find(StepGraphs& s, const StepShape& shape) {
  for (const auto& graphs : s.shapes) {
    if (graphs->shape == shape) return *graphs;
  }
  if (s.shapes.size() == kShapesMax) {
    const auto oldest =
        std::min_element(s.shapes.begin(), s.shapes.end(),
                         [](const auto& a, const auto& b) { return a->last_step < b->last_step; });
    for (const auto& stretch : (*oldest)->stretches) Forget(*stretch);
    s.shapes.erase(oldest);
  }
  s.shapes.push_back(std::make_unique<ShapeGraphs>());
  s.shapes.back()->shape = shape;
  return *s.shapes.back();
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
  s.shape = nullptr;
  if (!s.wanted || c->failed || !fits || shape.rows > kRowsMax || c->input_used > 0) return;
  s.shape = &Find(s, shape);
  s.shape->last_step = ++s.steps;
  s.stretch = 0;
  NextStepGraph(c);
}

void NextStepGraph(ConclaveCudaContext* c) {
  StepGraphs& s = c->graphs;
  if (s.shape == nullptr || c->failed || c->input_chunk > 0) return;
  if (s.stretch == s.shape->stretches.size()) {
    s.shape->stretches.push_back(std::make_unique<StepGraph>());
  }
  StepGraph& graph = *s.shape->stretches[s.stretch++];
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
    const cudaGraph_t recorded = EndCapture(c);
    if (recorded != nullptr) {
      if (!s.current->launches.empty()) {
        Check(c, cudaGraphInstantiate(&s.current->graph, recorded, 0), "a graph of the step");
      }
      cudaGraphDestroy(recorded);
    }
  }
  s.mode = Mode::kOff;
  CopyInputs(c);
  if (c->failed || s.current->graph == nullptr) return;
  Check(c, cudaGraphLaunch(s.current->graph, c->stream), "starting the step");
}

void CloseStepGraphs(ConclaveCudaContext* c) {
  for (const auto& graphs : c->graphs.shapes) {
    for (const auto& stretch : graphs->stretches) Forget(*stretch);
  }
  c->graphs.shapes.clear();
}
