// A plugin for Hermetic. The setting `word` is what its recipients do not want.

#include "plugin.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
%% if envelope message

// Whether a text has the word; the case of ASCII letters does not count.
static bool has_the_word(plugin_string_t text) {
  plugin_string_t key, word = {0};
  plugin_string_set(&key, "word");
  bool found = false;
  if (hermetic_plugin_config_get(&key, &word) && word.len > 0) {
    for (size_t at = 0; !found && at + word.len <= text.len; at++) {
      size_t same = 0;
      while (same < word.len && tolower(text.ptr[at + same]) == tolower(word.ptr[same])) same++;
      found = same == word.len;
    }
  }
  plugin_string_free(&word);
  return found;
}
%% end
%% if envelope message delivery

// The caller of a hook frees its text.
static hermetic_plugin_types_reason_t reason(uint16_t subject, uint16_t detail, const char *text) {
  hermetic_plugin_types_reason_t reason = {.subject = subject, .detail = detail};
  plugin_string_dup(&reason.text, text);
  return reason;
}
%% end
%% for envelope

void exports_hermetic_plugin_{{on_}}_judge(exports_hermetic_plugin_{{on_}}_envelope_verdict_t *verdict) {
  plugin_string_t sender = {0};
  bool refused = hermetic_plugin_facts_reverse_path(&sender) && has_the_word(sender);
  plugin_string_free(&sender);
  verdict->tag = refused ? HERMETIC_PLUGIN_TYPES_ENVELOPE_VERDICT_REJECT : HERMETIC_PLUGIN_TYPES_ENVELOPE_VERDICT_PROCEED;
  if (refused) verdict->val.reject = reason(7, 1, "not from you, please");
}
%% end
%% for message

void exports_hermetic_plugin_{{on_}}_judge(exports_hermetic_plugin_{{on_}}_message_verdict_t *verdict) {
  plugin_string_t name;
  plugin_list_string_t subjects;
  plugin_string_set(&name, "Subject");
  hermetic_plugin_header_text(&name, &subjects);
  bool refused = false;
  for (size_t at = 0; at < subjects.len; at++) refused |= has_the_word(subjects.ptr[at]);
  plugin_list_string_free(&subjects);
  verdict->tag = refused ? HERMETIC_PLUGIN_TYPES_MESSAGE_VERDICT_REJECT : HERMETIC_PLUGIN_TYPES_MESSAGE_VERDICT_PROCEED;
  if (refused) verdict->val.reject = reason(7, 1, "not about that, please");
}
%% end
%% if delivery report

// A text of several parts.
typedef struct {
  char octets[1024];
  size_t len;
} line_t;

static void put(line_t *line, plugin_string_t text) {
  size_t room = sizeof line->octets - line->len;
  size_t len = text.len < room ? text.len : room;
  memcpy(line->octets + line->len, text.ptr, len);
  line->len += len;
}

static void put_text(line_t *line, const char *text) {
  plugin_string_t string;
  plugin_string_set(&string, text);
  put(line, string);
}

static void info(line_t *line) {
  plugin_string_t text = {.ptr = (uint8_t *)line->octets, .len = line->len};
  hermetic_plugin_log_info(&text);
}
%% end
%% for delivery

void exports_hermetic_plugin_{{on_}}_deliver(exports_hermetic_plugin_{{on_}}_outcome_t *outcome) {
  char number[16];
  line_t line = {0};
  plugin_string_t key;
  snprintf(number, sizeof number, "%u", (unsigned)hermetic_plugin_attempt_number());
  hermetic_plugin_attempt_idempotency_key(&key);
  put_text(&line, "attempt ");
  put_text(&line, number);
  put_text(&line, " of ");
  put(&line, key);
  info(&line);
  plugin_string_free(&key);
  outcome->tag = HERMETIC_PLUGIN_TYPES_OUTCOME_RETRY;
  outcome->val.retry.reason = reason(3, 0, "this delivery is not written yet");
  outcome->val.retry.after_seconds.is_some = true;
  outcome->val.retry.after_seconds.val = 3600;
}
%% end
%% for report

void exports_hermetic_plugin_{{on_}}_note(void) {
  line_t line = {0};
  plugin_string_t to = {0}, state, text;
  hermetic_plugin_facts_forward_path(&to);
  hermetic_plugin_fate_state(&state);
  hermetic_plugin_fate_text(&text);
  put(&line, to);
  put_text(&line, ": ");
  put(&line, state);
  put_text(&line, " ");
  put(&line, text);
  info(&line);
  plugin_string_free(&to);
  plugin_string_free(&state);
  plugin_string_free(&text);
}
%% end
