#!/bin/bash
VARIANT=relay
. "$(dirname "$0")/../lib/hermetic.sh"
