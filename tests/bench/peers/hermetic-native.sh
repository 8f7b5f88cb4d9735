#!/bin/bash
VARIANT=discard NATIVE=1
. "$(dirname "$0")/../lib/hermetic.sh"
