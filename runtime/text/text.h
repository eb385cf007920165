/* Text functions of the runtime, implemented in Rust (folder rust/): tokenizer and chat templates.
 *
 * Contract, for every function:
 *  - It never prints, aborts or unwinds: a panic inside is caught and reported as an error.
 *  - Functions that return `int` return 0 on success. Otherwise they return 1, leave `*out` alone, and fill `*error`
 *    with an owned message if `error` is not NULL.
 *  - Text goes in as pointer and size in bytes, need not end in NUL, and must be UTF-8 (anything else is an error).
 *    A NULL pointer is allowed when the size is 0.
 *  - `llmrt_text_string` and `llmrt_text_ids` that come out are owned by the caller and given back with their free
 *    function. Freeing a zeroed struct or a NULL handle does nothing.
 *  - Handles are immutable after they are made: any number of threads may use one at the same time.
 */
#ifndef RUNTIME_TEXT_TEXT_H_
#define RUNTIME_TEXT_TEXT_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct llmrt_text_tokenizer llmrt_text_tokenizer;
typedef struct llmrt_text_template llmrt_text_template;

/* Owned bytes; not ended by NUL. `data` is NULL when `size` is 0. */
typedef struct llmrt_text_string {
  char* data;
  size_t size;
} llmrt_text_string;

/* Owned token ids. `data` is NULL when `size` is 0. */
typedef struct llmrt_text_ids {
  uint32_t* data;
  size_t size;
} llmrt_text_ids;

void llmrt_text_string_free(llmrt_text_string* string);
void llmrt_text_ids_free(llmrt_text_ids* ids);

/* ---- Tokenizer ------------------------------------------------------------------------------------------------- */

/* Makes a tokenizer from the bytes of a Hugging Face tokenizer.json. Truncation and padding settings in the file are
 * ignored: the caller decides what fits. */
int llmrt_text_tokenizer_new(const char* json, size_t json_size, llmrt_text_tokenizer** out, llmrt_text_string* error);
void llmrt_text_tokenizer_free(llmrt_text_tokenizer* tokenizer);

/* Text to ids. With LLMRT_TEXT_ADD_SPECIAL the post-processor of the file adds its tokens (BOS and the like). Special
 * tokens spelled out in the text become their ids either way. */
enum { LLMRT_TEXT_ADD_SPECIAL = 1 };
int llmrt_text_encode(const llmrt_text_tokenizer* tokenizer, const char* text, size_t text_size, uint32_t flags,
                      llmrt_text_ids* out, llmrt_text_string* error);

/* Ids to text. With LLMRT_TEXT_SKIP_SPECIAL special tokens leave no trace. Ids outside of the vocabulary are skipped
 * (models pad their vocabulary), bytes that are not UTF-8 become U+FFFD. */
enum { LLMRT_TEXT_SKIP_SPECIAL = 1 };
int llmrt_text_decode(const llmrt_text_tokenizer* tokenizer, const uint32_t* ids, size_t ids_size, uint32_t flags,
                      llmrt_text_string* out, llmrt_text_string* error);

/* Number of ids: one above the highest id, added tokens included. 0 for an empty vocabulary. */
uint32_t llmrt_text_vocab_size(const llmrt_text_tokenizer* tokenizer);

/* Id of a token in its vocabulary spelling ("\xe2\x96\x81the", "\xc4\xa0the", "<|end|>"). Error: not in the
 * vocabulary. */
int llmrt_text_token_to_id(const llmrt_text_tokenizer* tokenizer, const char* token, size_t token_size, uint32_t* out,
                           llmrt_text_string* error);

/* Vocabulary spelling of a token. Error: not in the vocabulary. */
int llmrt_text_id_to_token(const llmrt_text_tokenizer* tokenizer, uint32_t id, llmrt_text_string* out,
                           llmrt_text_string* error);

/* The bytes that a token stands for in the middle of a text; these may be part of a UTF-8 character. A special token
 * stands for its spelling. Error: not in the vocabulary. */
int llmrt_text_token_bytes(const llmrt_text_tokenizer* tokenizer, uint32_t id, llmrt_text_string* out,
                           llmrt_text_string* error);

/* What a token is, as bits; 0 for an ordinary token.
 * UNKNOWN: not in the vocabulary. SPECIAL: dropped by LLMRT_TEXT_SKIP_SPECIAL. BYTE: one raw byte (`<0x0A>`) of a
 * byte-fallback tokenizer, whose text is settled only when the run of such tokens has ended. */
enum { LLMRT_TEXT_TOKEN_UNKNOWN = 1, LLMRT_TEXT_TOKEN_SPECIAL = 2, LLMRT_TEXT_TOKEN_BYTE = 4 };
uint32_t llmrt_text_token_kind(const llmrt_text_tokenizer* tokenizer, uint32_t id);

/* ---- Chat template --------------------------------------------------------------------------------------------- */

/* Compiles a Jinja chat template. Error: syntax, with the line. */
int llmrt_text_template_new(const char* source, size_t source_size, llmrt_text_template** out,
                            llmrt_text_string* error);
void llmrt_text_template_free(llmrt_text_template* chat_template);

/* Renders as `apply_chat_template(tokenize=False)` of transformers does.
 * `messages_json`: a JSON list. `context_json`: a JSON object with everything else that the template reads: tools,
 * documents, bos_token, eos_token, add_generation_prompt and further names; the order of keys is kept. A string
 * "YYYY-MM-DDTHH:MM:SS" under the key strftime_now is the time that `strftime_now(format)` shows instead of the local
 * time. Errors: JSON, undefined attributes, what the template itself raises with `raise_exception`, and templates that
 * run for too long. */
int llmrt_text_template_render(const llmrt_text_template* chat_template, const char* messages_json,
                               size_t messages_json_size, const char* context_json, size_t context_json_size,
                               llmrt_text_string* out, llmrt_text_string* error);

#ifdef __cplusplus
}
#endif

#endif /* RUNTIME_TEXT_TEXT_H_ */
