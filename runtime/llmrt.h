/* llmrt: runs a plan that llmc compiled. C API.
 *
 * Two levels. *Requests*: submit prompts, poll for tokens, cancel; the scheduler batches them. *Steps*: fill one step
 * yourself, launch it, read logits. Use one level per engine at a time.
 *
 * Nothing here throws, prints or aborts. A function that can fail returns 0 for success and 1 for failure; then
 * llmrt_error() of the engine says why in one line (llmrt_open hands its message out itself). An engine belongs to one
 * thread at a time. Structs start with `size`, which the caller sets to sizeof(the struct), so that later versions can
 * add fields at the end. */
#ifndef LLMRT_H
#define LLMRT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct llmrt_engine llmrt_engine;

typedef struct {
  size_t size;
  const char* plan;      /* path of the plan file */
  const char* model_dir; /* folder of external weights; NULL: the folder of the plan */
  const char* device;    /* "auto", "cpu", "cuda", "cuda:N"; NULL: auto */
  const char* target;    /* target of the plan to use; NULL: the best that runs */
  int force_ptx;         /* CUDA: let the driver compile the target's PTX */
  int threads;           /* CPU: 0 for one per core */
  uint64_t
      kv_bytes; /* most memory for the KV cache; 0: room for max_batch sequences of max_context tokens, if it fits */
  int separate_allocations; /* debugging: one device allocation per buffer */
  int no_graphs;            /* debugging: run every launch on its own instead of whole programs */
  int info_only; /* allocate nothing: only llmrt_get_info and llmrt_text_asset work; succeeds even if the plan does not
                    fit */
  /* [trusted_key_count]: paths of public keys (NAME.pub of llmc keygen). With one or more, a plan that none of them
   * signed, or that was altered since, is refused before any of its code is loaded. */
  const char* const* trusted_keys;
  size_t trusted_key_count;
  int no_advance; /* debugging: upload every step's input, also where the device could make it from the last step's */
  int no_persistent; /* debugging: run every launch as a kernel of its own, also where one kernel could run the step */
} llmrt_options;

/* On failure *error is a message to free with llmrt_free, and *engine is NULL. */
int llmrt_open(const llmrt_options* options, llmrt_engine** engine, char** error);
void llmrt_close(llmrt_engine* engine);
void llmrt_free(char* text);
/* The message of the last failed call on this engine; valid until the next call. */
const char* llmrt_error(const llmrt_engine* engine);

/* Facts about a loaded plan. Strings live as long as the engine. Bytes are bytes. */
typedef struct {
  size_t size;
  const char* model;
  const char* target;
  const char* device;
  const char* note; /* "" or what the user should know: a fallback is in use */
  uint64_t vocab, layers, hidden;
  uint64_t max_context, max_batch, max_step_tokens, max_logits;
  uint64_t weight_bytes, mapped_weight_bytes, activation_bytes, state_bytes, io_bytes, kv_bytes, kv_bytes_per_token,
      total_bytes, free_bytes;
  uint64_t kv_tokens;      /* tokens that the KV cache holds */
  uint64_t fitting_tokens; /* tokens that it could hold in the free memory */
  int fits;                /* 0: there is no room for the plan (info_only engines) */
  uint64_t mask_words;     /* 32-bit words of a vocabulary mask: vocab / 32, rounded up */
  const char* kv_dtype;    /* f32, f16, bf16 or int8 (a scale for each token and head) */
} llmrt_info;
int llmrt_get_info(const llmrt_engine* engine, llmrt_info* info);

/* Where opening the engine spent its time, in seconds. */
typedef struct {
  size_t size;
  double plan_s;   /* opening and checking the plan */
  double device_s; /* driver and context */
  double memory_s; /* allocating device memory */
  double
      weights_s; /* reading and copying weights, weight_bytes of them (none that are used where the file is mapped) */
  double code_s; /* loading kernels; on CUDA beside memory_s and weights_s */
  double code_wait_s; /* the part of code_s behind them */
  double init_s;      /* weights made of other weights, tensor maps */
  double open_s;      /* all of the above, each second once */
  double graphs_s;    /* building programs so far, each when a step first needs it; not part of open_s */
  uint64_t weight_bytes;
  uint64_t graphs; /* programs built so far */
} llmrt_load_times;
int llmrt_get_load_times(const llmrt_engine* engine, llmrt_load_times* times);

/* A text file that the plan carries ("tokenizer.json"); NULL if it has none of that name, or if its
 * bytes are damaged: then llmrt_error() says so, else it is "". Lives as long as the engine. */
const char* llmrt_text_asset(llmrt_engine* engine, const char* name, size_t* bytes);

/* --- Requests ------------------------------------------------------------------------------------------------------
 */

typedef struct {
  int32_t id;
  float bias;
} llmrt_bias;

typedef struct {
  size_t size;
  const int32_t* prompt; /* [prompt_tokens] */
  size_t prompt_tokens;
  uint64_t max_tokens;     /* 0: as many as the context holds */
  const int32_t* stop_ids; /* [stop_count]: end the request; the id is reported */
  size_t stop_count;
  float temperature;                         /* 0: the most likely id */
  int32_t top_k;                             /* 0: off */
  float top_p;                               /* 1: off */
  float min_p;                               /* 0: off */
  float repetition_penalty;                  /* 1: off */
  float presence_penalty, frequency_penalty; /* 0: off */
  uint64_t seed;
  int32_t logprobs;       /* -1: none; n >= 0: of the sampled id and of the n most likely, n <= 20 */
  const llmrt_bias* bias; /* [bias_count] */
  size_t bias_count;
  int masked; /* 1: every token waits for its vocabulary mask (llmrt_set_mask) */
} llmrt_request;

/* Neutral values: greedy, no penalties, no limit. */
void llmrt_request_init(llmrt_request* request);

enum { LLMRT_RUNNING = 0, LLMRT_STOP = 1, LLMRT_LENGTH = 2, LLMRT_CANCELLED = 3 };

typedef struct {
  uint64_t request;
  int32_t id;     /* -1: no token, the request only ended */
  int32_t finish; /* LLMRT_RUNNING or why the request ended with this event */
  float logprob;
  int32_t top_count;
  const int32_t* top_ids; /* [top_count], valid until the next poll */
  const float* top_logprobs;
} llmrt_event;

int llmrt_submit(llmrt_engine* engine, const llmrt_request* request, uint64_t* id);
int llmrt_cancel(llmrt_engine* engine, uint64_t id);
/* Says which ids the next token of a masked request may be: bit id % 32 of mask[id / 32] is 1 where the id is allowed;
 * `words` is llmrt_info.mask_words. One mask serves one token: set the first behind llmrt_submit, and a new one behind
 * each event of the request that does not end it. Until then the request takes no part in steps, but for the prompt
 * before its last token; other requests go on. A second mask before the first was used replaces it. The mask is copied.
 * Errors: the request is finished, unknown or not masked; its next token is being computed with an earlier mask;
 * another number of words; a mask that allows no id. */
int llmrt_set_mask(llmrt_engine* engine, uint64_t id, const uint32_t* mask, size_t words);
/* Advances the work and hands out finished tokens. wait 0 never blocks; wait 1 blocks until there is an event, or
 * nothing is left to do, or all that is left waits for masks (then *count is 0 and *active 1). *events is an array of
 * *count, valid until the next call; *active is 0 when no request is unfinished. */
int llmrt_poll(llmrt_engine* engine, int wait, const llmrt_event** events, size_t* count, int* active);

/* --- Steps -----------------------------------------------------------------------------------------------------------
 */

/* One step of `tokens` tokens of `seqs` sequences, with logits for `logits` rows. Arrays as in the design of the step
 * program. */
typedef struct {
  size_t size;
  size_t tokens, seqs, logits;
  const int32_t* token_ids;   /* [tokens]: an id, or -1-j for what row j of the last step sampled */
  const int32_t* positions;   /* [tokens] */
  const int32_t* query_start; /* [seqs + 1] */
  const int32_t* slots;       /* [seqs]: sequence slots, 0 .. max_batch-1 */
  const int32_t* logit_rows;  /* [logits]: token rows */
  const int32_t* reset; /* [seqs]: 1 where a new sequence begins in its slot; NULL: where its first position is 0 */
  int greedy; /* 1: also pick the most likely id of every logit row, so that the next step can take it as -1-j */
  const uint32_t*
      mask; /* [logits, llmrt_info.mask_words]: the ids that a greedy step may pick, as in llmrt_set_mask (all bits 1 in
             * a row without restriction); NULL: any. The logits stay as they are. Copied by llmrt_step_submit. */
} llmrt_step;

/* Queues the step (the KV index of a token is its position). */
int llmrt_step_submit(llmrt_engine* engine, const llmrt_step* step, uint32_t* number);
/* *done is 1 when the step has finished; never blocks. */
int llmrt_step_done(llmrt_engine* engine, uint32_t number, int* done);
/* Blocks until the step has finished and copies the ids that its rows picked (greedy steps). */
int llmrt_step_ids(llmrt_engine* engine, uint32_t number, int32_t* ids, size_t rows);
/* Blocks until the last step has finished and copies its logits [rows, vocab]. */
int llmrt_step_logits(llmrt_engine* engine, float* logits, size_t rows);
/* The same for the hidden states before the final norm [rows, hidden]. */
int llmrt_step_hidden(llmrt_engine* engine, float* hidden, size_t rows);

/* Bytes that a step must move and operations that it must do: `tokens` tokens in each of `seqs` sequences behind
 * `context` cached ones, with one logit row per sequence. What a roofline is computed from. */
int llmrt_step_cost(llmrt_engine* engine, size_t tokens, size_t seqs, size_t context, double* bytes, double* flops);
/* Measured memory bandwidth of the device in GB/s (takes some hundred milliseconds). */
int llmrt_bandwidth(llmrt_engine* engine, double* gb_per_s);

/* --- Profile
 * ---------------------------------------------------------------------------------------------------------- */

typedef struct {
  const char *op, *layer, *kernel; /* live as long as the engine */
  double microseconds;             /* median of the launch on its own, or of its phase where one kernel runs all */
  double bytes, flops;             /* what the step must move and compute in it */
} llmrt_launch_time;

/* Times every launch of one step: `tokens` tokens in each of `seqs` sequences whose KV caches hold `context` tokens
 * already. *times is an array of *count, valid until the next call. */
int llmrt_profile(llmrt_engine* engine, size_t tokens, size_t seqs, size_t context, int repeats,
                  const llmrt_launch_time** times, size_t* count);

#ifdef __cplusplus
}
#endif

#endif
