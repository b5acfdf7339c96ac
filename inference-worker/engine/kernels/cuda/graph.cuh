// Small steps as CUDA graphs. A step whose shape has come before is recorded: its launches go into
// a graph, and what each was asked to do is written down. From then on the operations of such a
// step launch nothing: each is held against what was written down, and when the last has come the
// graph starts them all. What differs between the steps of one shape (tokens, positions, blocks)
// lies in the step's inputs, at the same addresses every time and copied at once before the graph
// starts. An operation that is not as it was ends this: what has been asked for so far is launched
// one by one, the rest as it comes, and the shape is recorded anew later.
//
// Where the host has its turn inside a step (hand_over.cu), the step is several graphs, one for
// each stretch between.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

struct ConclaveCudaContext;

// One launch: two with the same bytes do the same.
struct LaunchWords {
  const void* kernel = nullptr;
  dim3 grid;
  unsigned threads = 0;
  std::vector<char> arguments;

  template <typename T>
  void Add(const T& argument) {
    const size_t at = arguments.size();
    arguments.resize(at + sizeof argument);
    std::memcpy(arguments.data() + at, &argument, sizeof argument);
  }
  bool operator==(const LaunchWords& other) const {
    return kernel == other.kernel && grid.x == other.grid.x && grid.y == other.grid.y &&
           grid.z == other.grid.z && threads == other.threads && arguments == other.arguments;
  }
};

struct RecordedLaunch {
  LaunchWords words;
  std::function<void(cudaStream_t)> start;
};

struct StepShape {
  int64_t rows = 0;
  int64_t spans = 0;
  int64_t strips = 0;  // of the longest sequence, rounded up
  bool operator==(const StepShape& other) const {
    return rows == other.rows && spans == other.spans && strips == other.strips;
  }
};

// Of one stretch.
struct StepGraph {
  std::vector<RecordedLaunch> launches;
  cudaGraphExec_t graph = nullptr;  // none while nothing is recorded
  int64_t seen = 0;                 // steps since then
  int64_t wait = 1;                 // how many of them before it is recorded
};

struct ShapeGraphs {
  StepShape shape;
  std::vector<std::unique_ptr<StepGraph>> stretches;
  int64_t last_step = 0;
};

struct StepGraphs {
  enum class Mode { kOff, kRecording, kReplaying };

  bool wanted = false;
  Mode mode = Mode::kOff;  // of the step that runs
  std::vector<std::unique_ptr<ShapeGraphs>> shapes;
  ShapeGraphs* shape = nullptr;  // of the step that runs; none where it is no graph
  size_t stretch = 0;            // the one after `current`
  StepGraph* current = nullptr;
  size_t next = 0;  // launch of `current` that is expected
  int64_t steps = 0;
  LaunchWords words;  // of the launch that is asked for; a member so that none allocates
};

// `fits`: the step's inputs are few enough for one copy.
void BeginStepGraph(ConclaveCudaContext*, const StepShape& shape, bool fits);
// Whether the launch in `words` is the one that is expected now, and so need not be made.
bool IsExpected(ConclaveCudaContext*);
void Record(ConclaveCudaContext*, std::function<void(cudaStream_t)> start);
// Launches what has been asked for; what follows is launched as it comes.
void LeaveStepGraph(ConclaveCudaContext*);
// Starts the stretch's graph, if there is one. After the last operation of a stretch.
void EndStepGraph(ConclaveCudaContext*);
// Goes on with the step's next stretch.
void NextStepGraph(ConclaveCudaContext*);
void CloseStepGraphs(ConclaveCudaContext*);
