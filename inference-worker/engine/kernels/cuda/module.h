// The C door between the engine and libconclave_cuda.so. The engine loads the module at run time,
// so a binary starts on machines without CUDA; the module alone links the CUDA libraries. No CUDA
// types here: both sides include this header.
//
// Operations are asked for on one stream and run later, in order. None reports: the first error of
// the driver is remembered, later operations do nothing, and read_back tells. Whoever waits for the
// device waits CONCLAVE_CUDA_STEP_SECONDS of the environment at most, 120 when it says nothing: a
// device that has not answered by then has failed, and is not touched again, not even to be closed.
// Pointers named `device` or in a struct marked so are into memory that `allocate` gave; all others
// are the host's and are read before the call returns.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

struct ConclaveCudaDevice {
  char name[256];
  int32_t compute_major;
  int32_t compute_minor;
  int32_t multiprocessors;
  uint64_t memory_bytes;
  uint64_t memory_free_bytes;
};

struct ConclaveCudaContext;

// Device: a stack of matrices in the panels of cuda/panels.h.
struct ConclaveCudaMatrix {
  const void* panels;
  int32_t kind;  // PanelKind
  int64_t matrices;
  int64_t out;
  int64_t in;
};
struct ConclaveCudaOutput {
  ConclaveCudaMatrix weight;
  const float* bias;  // device; [out], or none
  float* y;           // device
  int64_t y_stride;
};
struct ConclaveCudaFfn {
  ConclaveCudaMatrix gate;  // no panels: none
  ConclaveCudaMatrix up;
  ConclaveCudaMatrix down;
  int32_t activation;  // Activation
  // Device; [matrices][out] each, or none.
  const float* gate_bias;
  const float* up_bias;
  const float* down_bias;
};
// RouterArgs of the engine.
struct ConclaveCudaRouter {
  int32_t num_experts;
  int32_t top_k;
  int32_t score;  // RouterScore
  int32_t num_groups;
  const float* selection_bias;  // device; [num_experts], or none
  int32_t num_groups_used;
  int32_t group_best;
  int32_t renormalize;
  float scale;
};
struct ConclaveCudaAttention {
  int32_t num_heads;
  float scale;
  const float* q;  // device
  int64_t q_stride;
  float* out;  // device
  int64_t out_stride;
  int32_t window;             // 0 = none
  const float* sinks;         // device; [num_heads], or none
  const float* alibi_slopes;  // device; [num_heads], or none
  int32_t max_span_rows;      // spans of more rows are left out
};
// ExpandedAttentionArgs of the engine.
struct ConclaveCudaExpanded {
  ConclaveCudaMatrix keys;
  ConclaveCudaMatrix values;
  float scale;
  const float* q;  // device
  int64_t q_stride;
  float* out;  // device
  int64_t out_stride;
  int32_t span;  // of the step
};
struct ConclaveCudaRouting {
  const int32_t* ids;    // device; [rows][top_k], < 0 is left out
  const float* weights;  // device; [rows][top_k]
  int32_t top_k;
  const int32_t* order;  // device; [rows][top_k]: what experts are added by, or none: by ids
};
struct ConclaveCudaKv {
  void* kv;  // device: one layer's memory
  int32_t num_kv_heads;
  int32_t head_dim;
  int32_t value_dim;
  int32_t half;            // fp16 storage, else fp32
  int32_t values_in_keys;  // KvLayout's
};
// One sequence's rows; its block numbers begin at first_block of the step's list.
struct ConclaveCudaSpan {
  int32_t first_row;
  int32_t rows;
  int32_t position;
  int32_t first_block;
};

// Rows whose experts are not all the device's go to the host in the middle of a step.
struct ConclaveCudaHandOver {
  const float* x;  // device
  int64_t x_stride;
  int64_t rows;
  int64_t cols;
  const int32_t* ids;    // device; [rows][top_k], each < number of experts
  const float* weights;  // device; [rows][top_k]
  int64_t top_k;
  const int32_t* places;  // device; by id: a number here, or -1 - a number there
  int32_t* here;          // device; [rows][top_k]: the number here, or -1
  // Pinned: rows without gaps, the number there or -1, the ids and the weights.
  float* their_x;
  int32_t* there;
  int32_t* their_ids;
  float* their_weights;
};

// Rows without gaps that are read in part (row_reader.h).
#define CONCLAVE_CUDA_ROW_FACTORS 2
#define CONCLAVE_CUDA_CHANGE_LISTS 3
struct ConclaveCudaRowRequest {
  float factors[CONCLAVE_CUDA_ROW_FACTORS];  // 0 = none
  int32_t largest;
  int32_t allowed;  // which of the masks; -1 = none
};
struct ConclaveCudaRowChange {
  int32_t row;
  int32_t id;
  int32_t kind;  // RowChange::Kind
  float value;
};
struct ConclaveCudaRows {
  float* x;  // device
  int64_t n;
  int64_t rows;
  const ConclaveCudaRowRequest* requests;  // [rows]
  const uint64_t* allowed;                 // [num_allowed][(n + 63) / 64]
  int64_t num_allowed;
  // Lists one after the other; in each, those of one row and id are neighbours.
  const ConclaveCudaRowChange* changes[CONCLAVE_CUDA_CHANGE_LISTS];
  int64_t num_changes[CONCLAVE_CUDA_CHANGE_LISTS];
};
struct ConclaveCudaRowBlock {
  int32_t row;
  int32_t block;
};

// StepLimits of the engine.
struct ConclaveCudaLimits {
  int64_t rows;
  int64_t sequences;
  int64_t context;
  int64_t read_floats;
  int64_t read_rows;
  int64_t row_changes;  // of all rows of a step
  int64_t widest;
  int64_t hidden;
  int64_t middle;
  int64_t slots;
  int64_t experts;
  int64_t num_heads;
  int64_t num_kv_heads;
  int64_t value_dim;
  int64_t attention_bytes;  // that attention may take at most for partial sums
  int64_t expanded_bytes;   // that expanded attention works in (expanded_bytes.h)
};

struct ConclaveCudaCopy {
  const void* from;
  void* to;
  int64_t bytes;
};

// `version` is the first field for good; the rest may change with it. It is a digest of this header
// and of what it stands on (CMakeLists.txt), so that no change is forgotten.
struct ConclaveCudaApi {
  uint32_t version;  // CONCLAVE_CUDA_API_VERSION

  // NULL with a message: no such device, or one the module has no code for. `fast`: the bits of a
  // row may depend on how many rows come with it.
  ConclaveCudaContext* (*open)(int32_t device, int32_t fast, char* error, size_t error_size);
  void (*close)(ConclaveCudaContext*);
  // NULL while the device works. Valid until close.
  const char* (*error)(const ConclaveCudaContext*);

  int32_t (*memory_info)(ConclaveCudaContext*, int64_t* free_bytes, int64_t* total_bytes);
  // Zeroed; NULL when there is no room, which is no error of the device.
  void* (*allocate)(ConclaveCudaContext*, int64_t bytes);
  void (*release)(ConclaveCudaContext*, void* device);
  // Done when it returns; 0 when the device has failed.
  int32_t (*upload)(ConclaveCudaContext*, const void* host, int64_t bytes, void* device);
  // Waits for every operation; gives a copy of device[0..n) that lives until the next call, not
  // NULL for n = 0 either. NULL when the device has failed.
  float* (*read_back)(ConclaveCudaContext*, const float* device, int64_t n);

  // --- rows that are read in part ---
  // Has the device begin with what was asked for: a graph starts only now.
  void (*start)(ConclaveCudaContext*);
  // Changes the rows and digests them: [rows][2 + 3 · blocks] of {max, best as an integer, largest,
  // sums of the first factor, of the second}, of which what nobody asked for is undefined. There
  // once read_back has waited, until the next digest_rows or a read_back of more than 0 floats.
  // NULL when the device has failed.
  const float* (*digest_rows)(ConclaveCudaContext*, const ConclaveCudaRows*);
  // Blocks of the rows last digested, each once: [count][256], -inf beyond a row. There as those.
  float* (*fetch_blocks)(ConclaveCudaContext*, const ConclaveCudaRowBlock* blocks, int64_t count);

  // Takes what steps within these limits need, and no step takes any more: 1; 0 when there is no
  // room, which is no error of the device.
  int32_t (*reserve)(ConclaveCudaContext*, const ConclaveCudaLimits*);

  void (*matmul)(ConclaveCudaContext*, const ConclaveCudaOutput* outputs, int32_t num_outputs,
                 const float* x, int64_t x_stride, int64_t rows);
  // [row][head] of x and y without gaps between rows; heads x_head and y_head floats apart.
  void (*matmul_heads)(ConclaveCudaContext*, const ConclaveCudaMatrix* weight, const float* x,
                       int64_t x_head, int64_t rows, float* y, int64_t y_head);
  void (*ffn)(ConclaveCudaContext*, const ConclaveCudaFfn*, const float* x, int64_t x_stride,
              int64_t rows, float* y, int64_t y_stride);
  void (*moe)(ConclaveCudaContext*, const ConclaveCudaFfn*, const ConclaveCudaRouting*,
              const float* x, int64_t x_stride, int64_t rows, float* y, int64_t y_stride);
  void (*rms_norm)(ConclaveCudaContext*, const float* x, int64_t x_stride, int64_t rows, int64_t n,
                   const float* weight, float eps, float* y, int64_t y_stride);
  void (*layer_norm)(ConclaveCudaContext*, const float* x, int64_t x_stride, int64_t rows,
                     int64_t n, const float* weight, const float* bias, float eps, float* y,
                     int64_t y_stride);
  void (*scale)(ConclaveCudaContext*, float factor, int64_t n, float* x);
  void (*add_gated)(ConclaveCudaContext*, const float* x, const float* gate, int64_t rows,
                    int64_t n, float* y);
  void (*copy_rows)(ConclaveCudaContext*, const float* x, int64_t x_stride, int64_t rows, int64_t n,
                    float* y, int64_t y_stride);
  void (*add)(ConclaveCudaContext*, const float* x, int64_t n, float* y);
  // y = act(gate), times up where that is given.
  void (*activate)(ConclaveCudaContext*, int32_t activation, const float* gate, const float* up,
                   int64_t n, float* y);
  void (*rope_angles)(ConclaveCudaContext*, const float* inverse_frequency, int32_t pairs,
                      const int32_t* positions, int64_t rows, float magnitude, float* cos_sin);
  void (*rope)(ConclaveCudaContext*, int32_t style, float* x, int64_t stride, int64_t rows,
               int32_t num_heads, int32_t head_dim, int32_t rope_dim, const float* cos_sin);
  // Spans, the block numbers of all, and for each row where its token goes: block · 16 + place.
  void (*begin_step)(ConclaveCudaContext*, const ConclaveCudaSpan* spans, int32_t num_spans,
                     const int32_t* blocks, int64_t num_blocks, const int32_t* slots, int64_t rows);
  void (*store_kv)(ConclaveCudaContext*, const ConclaveCudaKv*, const float* k, int64_t k_stride,
                   const float* v, int64_t v_stride);
  void (*attention)(ConclaveCudaContext*, const ConclaveCudaKv*, const ConclaveCudaAttention*);
  void (*expanded_attention)(ConclaveCudaContext*, const ConclaveCudaKv* latents,
                             const ConclaveCudaExpanded*);
  // Rows as the model file has them.
  void (*embed_rows)(ConclaveCudaContext*, const void* table, int32_t dtype, int64_t cols,
                     int64_t row_bytes, const int32_t* ids, int64_t rows, float* out,
                     int64_t out_stride);
  void (*gather_rows)(ConclaveCudaContext*, const float* x, int64_t x_stride, const int32_t* rows,
                      int64_t num_rows, int64_t n, float* y, int64_t y_stride);
  void (*route)(ConclaveCudaContext*, const ConclaveCudaRouter*, const float* logits,
                int64_t stride, int64_t rows, int32_t* ids, float* weights);

  // --- work that the host shares, inside a step ---
  // Host memory that operations read and write as they do the device's, at the bus's speed. NULL
  // when there is none.
  void* (*pin)(ConclaveCudaContext*, int64_t bytes);
  void (*unpin)(ConclaveCudaContext*, void* pinned);
  // What is asked for afterwards runs beside the host's work. One at a time, ended by
  // await_host_turn.
  void (*hand_over)(ConclaveCudaContext*, const ConclaveCudaHandOver*);
  // Starts what has been asked for since, then waits until the host has what was handed over: 1.
  // 0 when the device has failed.
  int32_t (*await_host_turn)(ConclaveCudaContext*);

  // --- experts that are on their way through, in two slots ---
  // Where places[ids[i]] is of the host's (`theirs`) or the device's own numbers, first..first +
  // count - 1 of them become here[i] = 0..count - 1; all others -1.
  void (*choose_experts)(ConclaveCudaContext*, const int32_t* ids, const int32_t* places,
                         int64_t slots, int32_t theirs, int32_t first, int32_t count,
                         int32_t* here);
  // Copies beside what runs, once what used the slot before is done.
  void (*stage)(ConclaveCudaContext*, int32_t slot, const void* pinned, int64_t bytes,
                void* device);
  // Waits until the slot's last copy is done and its source free: 1; 0 as await_host_turn.
  int32_t (*await_staging)(ConclaveCudaContext*, int32_t slot);
  // What is asked for between the two runs when the slot's copy is there.
  void (*use_staged)(ConclaveCudaContext*, int32_t slot);
  void (*done_with_staged)(ConclaveCudaContext*, int32_t slot);

  // --- experts that change places, between steps ---
  // Copies pinned memory to the device, and the device's to pinned memory, beside what runs, after
  // what has been asked for; slots as for staging, CONCLAVE_CUDA_MOVE_SLOTS of their own. 1; 0 when
  // the driver would not: some may be under way, none counts, and the device need not have failed.
  int32_t (*exchange)(ConclaveCudaContext*, int32_t slot, const ConclaveCudaCopy* in,
                      int32_t num_in, const ConclaveCudaCopy* out, int32_t num_out);
  // Whether the slot's last exchange is done: 1; 0 while it is not; -1 when the device has failed.
  int32_t (*exchanged)(ConclaveCudaContext*, int32_t slot);
  // Within the device, in turn with operations.
  void (*copy)(ConclaveCudaContext*, const ConclaveCudaCopy* copies, int32_t num);
  // chosen[ids[i]] += 1.
  void (*count_experts)(ConclaveCudaContext*, const int32_t* ids, int64_t slots, int32_t* chosen);

  // Bytes per second, read and written, of copying `bytes` on the device; 0 on failure.
  double (*copy_bandwidth)(ConclaveCudaContext*, int64_t bytes);
};

// What the kernels can take.
#define CONCLAVE_CUDA_HEAD_DIM_MAX 256
#define CONCLAVE_CUDA_LATENT_KEY_MAX 576
#define CONCLAVE_CUDA_LATENT_MAX 512
#define CONCLAVE_CUDA_EXPERTS_MAX 1024
#define CONCLAVE_CUDA_TOP_K_MAX 64
#define CONCLAVE_CUDA_GROUPS_MAX 64
#define CONCLAVE_CUDA_MOVE_SLOTS 2

const ConclaveCudaApi* conclave_cuda_api(void);

// Fills up to `max` entries and gives the number of devices; -1 with a message in `error` when the
// driver is missing or does not answer.
int32_t conclave_cuda_devices(ConclaveCudaDevice* out, int32_t max, char* error, size_t error_size);

}  // extern "C"
