#!/bin/bash
VARIANT=discard PLUGINS=1
. "$(dirname "$0")/../lib/hermetic.sh"
