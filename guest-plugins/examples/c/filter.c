// Judges what has a word in its Subject, and tags the rest.

#include "tag.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

// Whether the text has the word; the case of ASCII letters does not count.
static bool has(tag_string_t text, tag_string_t word) {
  for (size_t at = 0; at + word.len <= text.len; at++) {
    size_t same = 0;
    while (same < word.len && tolower(text.ptr[at + same]) == tolower(word.ptr[same])) same++;
    if (same == word.len) return true;
  }
  return false;
}

// "no WORD, please" in memory that the caller of the hook frees.
static tag_string_t refusal(tag_string_t word) {
  static const char before[] = "no ", after[] = ", please";
  tag_string_t text = {.len = sizeof before - 1 + word.len + sizeof after - 1};
  text.ptr = malloc(text.len);
  if (text.ptr == NULL) abort();
  memcpy(text.ptr, before, sizeof before - 1);
  memcpy(text.ptr + sizeof before - 1, word.ptr, word.len);
  memcpy(text.ptr + sizeof before - 1 + word.len, after, sizeof after - 1);
  return text;
}

// Whether a setting that may be missing is this text.
static bool is(bool given, tag_string_t setting, const char *text) {
  return given && setting.len == strlen(text) && memcmp(setting.ptr, text, setting.len) == 0;
}

static bool subject_has(tag_string_t word) {
  tag_string_t name;
  tag_list_string_t subjects;
  tag_string_set(&name, "Subject");
  hermetic_plugin_header_text(&name, &subjects);
  bool found = false;
  for (size_t at = 0; at < subjects.len; at++) found |= has(subjects.ptr[at], word);
  tag_list_string_free(&subjects);
  return found;
}

// No answer, an abort, is the operator's failure policy's.
void exports_hermetic_plugin_on_recipient_message_judge(
    exports_hermetic_plugin_on_recipient_message_message_verdict_t *verdict) {
  tag_string_t key, word = {0}, wanted = {0};
  tag_string_set(&key, "word");
  if (!hermetic_plugin_config_get(&key, &word) || word.len == 0 || !subject_has(word)) {
    tag_string_t field, value;
    uint32_t id;
    hermetic_plugin_edit_fault_t fault;
    tag_string_set(&field, "X-Hermetic-Tag");
    tag_string_set(&value, "c");
    if (!hermetic_plugin_edit_prepend(&field, &value, &id, &fault)) abort();
    verdict->tag = HERMETIC_PLUGIN_TYPES_MESSAGE_VERDICT_PROCEED;
    tag_string_free(&word);
    return;
  }

  tag_string_set(&key, "verdict");
  bool given = hermetic_plugin_config_get(&key, &wanted);
  hermetic_plugin_types_reason_t reason = {.subject = 7, .detail = 1};
  if (!given || is(given, wanted, "reject")) {
    reason.text = refusal(word);
    verdict->tag = HERMETIC_PLUGIN_TYPES_MESSAGE_VERDICT_REJECT;
    verdict->val.reject = reason;
  } else if (is(given, wanted, "defer")) {
    reason.text = refusal(word);
    verdict->tag = HERMETIC_PLUGIN_TYPES_MESSAGE_VERDICT_DEFER;
    verdict->val.defer = reason;
  } else if (is(given, wanted, "discard")) {
    verdict->tag = HERMETIC_PLUGIN_TYPES_MESSAGE_VERDICT_DISCARD;
  } else if (is(given, wanted, "accept")) {
    verdict->tag = HERMETIC_PLUGIN_TYPES_MESSAGE_VERDICT_ACCEPT;
  } else {
    abort();
  }
  tag_string_free(&word);
  tag_string_free(&wanted);
}
