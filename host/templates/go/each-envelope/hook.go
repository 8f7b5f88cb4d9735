%% for any
// Package export_hermetic_plugin_{{on_}} is the hook {{on}}; its name is what the bindings call.
package export_hermetic_plugin_{{on_}}
%% end

import (
	"strings"

	config "filter/bindings/hermetic_plugin_config"
	facts "filter/bindings/hermetic_plugin_facts"
	. "filter/bindings/hermetic_plugin_types"
)

// Judge refuses senders that have a word in their address: the setting `word`.
func Judge() EnvelopeVerdict {
	word, _ := config.Get("word").Get()
	sender, _ := facts.ReversePath().Get()
	if word != "" && strings.Contains(strings.ToLower(sender), strings.ToLower(word)) {
		return MakeEnvelopeVerdictReject(Reason{Subject: 7, Detail: 1, Text: "not from you, please"})
	}
	return MakeEnvelopeVerdictProceed()
}
