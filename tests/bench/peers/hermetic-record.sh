#!/bin/bash
VARIANT=hold
RECORD=0.01
. "$(dirname "$0")/../lib/hermetic.sh"
