#!/bin/bash
VARIANT=hold
. "$(dirname "$0")/../lib/hermetic.sh"
