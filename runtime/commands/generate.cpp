// llmrt run: generates text, as a stream.
#include <unistd.h>

#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "runtime/commands/load_report.h"
#include "runtime/text/chat_template.h"
#include "runtime/text/detokenizer.h"
#include "runtime/text/generation_config.h"
#include "runtime/text/stop_strings.h"
#include "runtime/text/tokenizer.h"

namespace llmrt::commands {
namespace {

struct RunOptions {
  SessionOptions session;
  std::string prompt, prompt_ids, system;
  bool chat = false, show_special = false, ignore_eos = false;
  uint64_t max_tokens = 0;
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<int> top_k;
  double presence_penalty = 0, frequency_penalty = 0;
  uint64_t seed = 0;
  int logprobs = -1;
  std::vector<std::string> stop;
};

struct Generation {
  std::vector<int32_t> prompt_ids, ids;
  std::string text, finish;
  std::vector<float> logprobs;
  double ttft_s = 0, total_s = 0;
};

const char* finish_text(int32_t reason) {
  switch (reason) {
    case LLMRT_STOP:
      return "stop";
    case LLMRT_LENGTH:
      return "length";
    case LLMRT_CANCELLED:
      return "cancelled";
  }
  return "";
}

llm::Result<std::vector<int32_t>> parse_ids(const std::string& list) {
  std::vector<int32_t> ids;
  std::stringstream in(list);
  for (std::string item; std::getline(in, item, ',');) {
    char* end = nullptr;
    const long id = std::strtol(item.c_str(), &end, 10);
    if (item.empty() || *end != '\0')
      return llm::Error{"--prompt-ids '" + list + "' is not a comma-separated list of ids"};
    ids.push_back(static_cast<int32_t>(id));
  }
  return ids;
}

class Runner {
 public:
  explicit Runner(const RunOptions& options) : o_(options) {}

  llm::Status run() {
    LLM_ASSIGN(session_, Session::open(o_.session));
    LLM_TRY(load_text());
    if (!o_.prompt_ids.empty()) {
      LLM_ASSIGN(const std::vector<int32_t> ids, parse_ids(o_.prompt_ids));
      return generate_and_print(ids);
    }
    if (!tokenizer_) return llm::Error{"the plan carries no tokenizer.json; use --prompt-ids"};
    if (!o_.chat) {
      LLM_ASSIGN(const auto ids, tokenizer_->encode(o_.prompt, text::EncodeMode::kAddSpecialTokens));
      return generate_and_print(ids);
    }
    return chat();
  }

 private:
  llm::Status load_text() {
    LLM_ASSIGN(const auto json, session_->text_asset("tokenizer.json"));
    if (!json.empty()) {
      LLM_ASSIGN(text::Tokenizer tokenizer, text::Tokenizer::from_json(json));
      tokenizer_.emplace(std::move(tokenizer));
    }
    LLM_ASSIGN(const auto generation, session_->text_asset("generation_config.json"));
    LLM_ASSIGN(const auto config, session_->text_asset("config.json"));
    LLM_ASSIGN(generation_,
               text::parse_generation_config(generation.empty() ? std::nullopt : std::optional(generation), config));
    return {};
  }

  // One turn per line of standard input after the first prompt, if there is one.
  llm::Status chat() {
    LLM_ASSIGN(const auto config, session_->text_asset("tokenizer_config.json"));
    LLM_ASSIGN(const auto jinja, session_->text_asset("chat_template.jinja"));
    LLM_ASSIGN(text::ChatTemplate chat_template,
               text::ChatTemplate::from_model_files(config.empty() ? "{}" : config,
                                                    jinja.empty() ? std::nullopt : std::optional(jinja)));
    text::ChatInput input;
    input.messages = text::Json::array();
    if (!o_.system.empty()) input.messages.push_back({{"role", "system"}, {"content", o_.system}});
    std::string user = o_.prompt;
    const bool interactive = user.empty();
    while (true) {
      if (user.empty()) {
        if (isatty(STDIN_FILENO)) std::fputs("> ", stdout), std::fflush(stdout);
        if (!std::getline(std::cin, user)) return {};
        if (user.empty()) continue;
      }
      input.messages.push_back({{"role", "user"}, {"content", user}});
      LLM_ASSIGN(const std::string rendered, chat_template.render(input));
      LLM_ASSIGN(const auto ids, tokenizer_->encode(rendered, text::EncodeMode::kAsWritten));
      LLM_TRY(generate_and_print(ids));
      if (!interactive) return {};
      input.messages.push_back({{"role", "assistant"}, {"content", last_.text}});
      user.clear();
    }
  }

  llmrt_request request(const std::vector<int32_t>& prompt) const {
    llmrt_request r;
    llmrt_request_init(&r);
    r.prompt = prompt.data(), r.prompt_tokens = prompt.size();
    r.max_tokens = o_.max_tokens ? o_.max_tokens : static_cast<uint64_t>(generation_.max_new_tokens.value_or(0));
    if (!o_.ignore_eos) r.stop_ids = generation_.eos_token_ids.data(), r.stop_count = generation_.eos_token_ids.size();
    r.temperature = static_cast<float>(o_.temperature.value_or(generation_.do_sample ? generation_.temperature : 0));
    r.top_k = o_.top_k.value_or(generation_.do_sample ? static_cast<int>(generation_.top_k) : 0);
    r.top_p = static_cast<float>(o_.top_p.value_or(generation_.do_sample ? generation_.top_p : 1));
    r.min_p = static_cast<float>(o_.min_p.value_or(generation_.do_sample ? generation_.min_p : 0));
    r.repetition_penalty = static_cast<float>(o_.repetition_penalty.value_or(generation_.repetition_penalty));
    r.presence_penalty = static_cast<float>(o_.presence_penalty);
    r.frequency_penalty = static_cast<float>(o_.frequency_penalty);
    r.seed = o_.seed;
    r.logprobs = o_.logprobs;
    return r;
  }

  llm::Status generate_and_print(const std::vector<int32_t>& prompt) {
    LLM_ASSIGN(last_, generate(prompt));
    if (!o_.session.json) {
      if (last_.text.empty() || last_.text.back() != '\n') std::fputs("\n", stdout);
      return {};
    }
    const double decode_s = last_.total_s - last_.ttft_s;
    const size_t steps = last_.ids.size() > 1 ? last_.ids.size() - 1 : 0;
    nlohmann::ordered_json j = {{"prompt_ids", last_.prompt_ids},
                                {"ids", last_.ids},
                                {"text", last_.text},
                                {"finish", last_.finish},
                                {"timings",
                                 {{"load_s", session_->load_seconds()},
                                  {"ttft_s", last_.ttft_s},
                                  {"total_s", last_.total_s},
                                  {"tpot_s", steps ? decode_s / static_cast<double>(steps) : 0.0},
                                  {"tokens_per_s", steps ? static_cast<double>(steps) / decode_s : 0.0}}}};
    j["load"] = load_json(*session_);
    if (o_.logprobs >= 0) j["logprobs"] = last_.logprobs;
    std::printf("%s\n", j.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
    return {};
  }

  void emit(Generation& g, const std::string& text) {
    g.text += text;
    if (o_.session.json) return;
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  }

  llm::Result<Generation> generate(const std::vector<int32_t>& prompt) {
    Generation g;
    g.prompt_ids = prompt;
    std::optional<text::Detokenizer> detokenizer;
    if (tokenizer_)
      detokenizer.emplace(
          *tokenizer_, o_.show_special ? text::DecodeMode::kKeepSpecialTokens : text::DecodeMode::kSkipSpecialTokens);
    text::StopStringMatcher stops(o_.stop);
    const llmrt_request r = request(prompt);
    const double begin = seconds_now();
    uint64_t id;
    LLM_TRY(session_->check(llmrt_submit(session_->engine(), &r, &id)));
    bool stopped = false;
    for (int active = 1; active && !stopped;) {
      const llmrt_event* events;
      size_t count;
      LLM_TRY(session_->check(llmrt_poll(session_->engine(), 1, &events, &count, &active)));
      for (size_t i = 0; i < count && !stopped; ++i) {
        const llmrt_event& e = events[i];
        if (g.ids.empty()) g.ttft_s = seconds_now() - begin;
        if (e.finish != LLMRT_RUNNING) g.finish = finish_text(e.finish);
        if (e.id < 0) continue;
        g.ids.push_back(e.id);
        g.logprobs.push_back(e.logprob);
        // The id that ends the sequence is not part of the text.
        if (!detokenizer || (e.finish == LLMRT_STOP && !o_.show_special)) continue;
        LLM_ASSIGN(const std::string piece, detokenizer->feed(e.id));
        const auto step = stops.feed(piece);
        emit(g, step.text);
        if (step.stop_string) {
          stopped = true;
          g.finish = "stop";
        }
      }
    }
    if (stopped) {
      LLM_TRY(drain(id));
    } else if (detokenizer) {
      LLM_ASSIGN(const std::string rest, detokenizer->flush());
      emit(g, stops.feed(rest).text + stops.flush());
    }
    g.total_s = seconds_now() - begin;
    return g;
  }

  // Cancels a request and waits until nothing of it is in flight.
  llm::Status drain(uint64_t id) {
    LLM_TRY(session_->check(llmrt_cancel(session_->engine(), id)));
    for (int active = 1; active;) {
      const llmrt_event* events;
      size_t count;
      LLM_TRY(session_->check(llmrt_poll(session_->engine(), 1, &events, &count, &active)));
    }
    return {};
  }

  const RunOptions& o_;
  std::unique_ptr<Session> session_;
  std::optional<text::Tokenizer> tokenizer_;
  text::GenerationConfig generation_;
  Generation last_;
};

}  // namespace

Verb add_run(CLI::App& app) {
  auto o = std::make_shared<RunOptions>();
  CLI::App* c = app.add_subcommand("run", "Generate text");
  c->footer(
      "Examples:\n  llmrt run plan.fb --prompt \"Once upon a time\" --max-tokens 100\n"
      "  llmrt run plan.fb --chat --prompt \"What is 12 + 30?\" --temperature 0\n  llmrt run plan.fb --prompt-ids "
      "1,2,3 --json");
  o->session.add(*c);
  auto* prompt = c->add_option("-p,--prompt", o->prompt, "Prompt; with --chat the first user message");
  c->add_option("--prompt-ids", o->prompt_ids, "Prompt as comma-separated token ids")->excludes(prompt);
  c->add_flag("--chat", o->chat, "Use the chat template; without --prompt, read messages from standard input");
  c->add_option("--system", o->system, "System message of the chat");
  c->add_option("-n,--max-tokens", o->max_tokens,
                "Most tokens to generate (default: the model's setting, else the context)");
  c->add_option("--temperature", o->temperature, "0 is greedy (default: the model's generation_config.json)");
  c->add_option("--top-k", o->top_k, "Keep the k most likely ids; 0: off");
  c->add_option("--top-p", o->top_p, "Keep the most likely ids up to this probability; 1: off");
  c->add_option("--min-p", o->min_p, "Drop ids below this share of the most likely one's probability; 0: off");
  c->add_option("--repetition-penalty", o->repetition_penalty, "1: off");
  c->add_option("--presence-penalty", o->presence_penalty, "0: off");
  c->add_option("--frequency-penalty", o->frequency_penalty, "0: off");
  c->add_option("--seed", o->seed, "Random seed")->capture_default_str();
  c->add_option("--logprobs", o->logprobs, "Report log-probabilities in --json");
  c->add_option("--stop", o->stop, "Stop at this text (repeatable)");
  c->add_flag("--ignore-eos", o->ignore_eos, "Generate past the end of sequence");
  c->add_flag("--show-special", o->show_special, "Print special tokens");
  return [o] { return Runner(*o).run(); };
}

}  // namespace llmrt::commands
