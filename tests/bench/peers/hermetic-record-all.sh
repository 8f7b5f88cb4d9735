#!/bin/bash
VARIANT=hold
RECORD=1.0
. "$(dirname "$0")/../lib/hermetic.sh"
