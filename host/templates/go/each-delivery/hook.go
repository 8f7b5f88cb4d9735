// Package export_hermetic_plugin_on_delivery is the hook on-delivery; its name is what the bindings call.
package export_hermetic_plugin_on_delivery

import (
	"fmt"

	attempt "filter/bindings/hermetic_plugin_attempt"
	log "filter/bindings/hermetic_plugin_log"
	rendered "filter/bindings/hermetic_plugin_rendered"
	. "filter/bindings/hermetic_plugin_types"

	wit "hermetic/wit/types"
)

// Deliver says when to come again; what it should do is not written yet.
func Deliver() Outcome {
	log.Info(fmt.Sprintf("attempt %d of %s, %d octets", attempt.Number(), attempt.IdempotencyKey(), rendered.Size()))
	reason := Reason{Subject: 3, Detail: 0, Text: "this delivery is not written yet"}
	return MakeOutcomeRetry(Retry{Reason: reason, AfterSeconds: wit.Some(uint32(3600))})
}
