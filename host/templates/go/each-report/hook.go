// Package export_hermetic_plugin_on_report is the hook on-report; its name is what the bindings call.
package export_hermetic_plugin_on_report

import (
	facts "filter/bindings/hermetic_plugin_facts"
	fate "filter/bindings/hermetic_plugin_fate"
	log "filter/bindings/hermetic_plugin_log"
)

// Note writes what became of each recipient to the log.
func Note() {
	to, _ := facts.ForwardPath().Get()
	log.Info(to + ": " + fate.State() + " " + fate.Text())
}
