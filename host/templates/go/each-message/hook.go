%% for any
// Package export_hermetic_plugin_{{on_}} is the hook {{on}}; its name is what the bindings call.
package export_hermetic_plugin_{{on_}}
%% end

import (
	"strings"

	config "filter/bindings/hermetic_plugin_config"
	header "filter/bindings/hermetic_plugin_header"
	. "filter/bindings/hermetic_plugin_types"
)

// Judge refuses messages that have a word in their Subject: the setting `word`.
func Judge() MessageVerdict {
	word, _ := config.Get("word").Get()
	for _, subject := range header.Text("Subject") {
		if word != "" && strings.Contains(strings.ToLower(subject), strings.ToLower(word)) {
			return MakeMessageVerdictReject(Reason{Subject: 7, Detail: 1, Text: "not about that, please"})
		}
	}
	return MakeMessageVerdictProceed()
}
