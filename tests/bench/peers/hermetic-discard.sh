#!/bin/bash
VARIANT=discard
. "$(dirname "$0")/../lib/hermetic.sh"
