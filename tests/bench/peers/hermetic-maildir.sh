#!/bin/bash
VARIANT=maildir
. "$(dirname "$0")/../lib/hermetic.sh"
