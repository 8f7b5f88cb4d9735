#!/bin/bash
VARIANT=discard PLUGINS=5
. "$(dirname "$0")/../lib/hermetic.sh"
