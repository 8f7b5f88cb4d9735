// Package export_hermetic_plugin_on_recipient_message is the hook on-recipient-message; its name is what the bindings call.
package export_hermetic_plugin_on_recipient_message

import (
	"strings"

	config "filter/bindings/hermetic_plugin_config"
	edit "filter/bindings/hermetic_plugin_edit"
	header "filter/bindings/hermetic_plugin_header"
	. "filter/bindings/hermetic_plugin_types"
)

// Judge judges what has a word in its Subject, and tags the rest. A panic is no answer, which is the operator's failure
// policy's.
func Judge() MessageVerdict {
	word, _ := config.Get("word").Get()
	if word == "" || !subjectHas(word) {
		edit.Prepend("X-Hermetic-Tag", "go").Ok()
		return MakeMessageVerdictProceed()
	}
	reason := Reason{Subject: 7, Detail: 1, Text: "no " + word + ", please"}
	verdict, given := config.Get("verdict").Get()
	switch {
	case !given || verdict == "reject":
		return MakeMessageVerdictReject(reason)
	case verdict == "defer":
		return MakeMessageVerdictDefer(reason)
	case verdict == "discard":
		return MakeMessageVerdictDiscard()
	case verdict == "accept":
		return MakeMessageVerdictAccept()
	}
	panic(verdict + " is no verdict")
}

// The case of letters does not count.
func subjectHas(word string) bool {
	for _, subject := range header.Text("Subject") {
		if strings.Contains(strings.ToLower(subject), strings.ToLower(word)) {
			return true
		}
	}
	return false
}
