#!/bin/sh
# The executor's sandbox on Linux. Installed where that needs no question, else asked for.
set -eu
[ "$(uname -s)" = Linux ] || exit 0
command -v bwrap >/dev/null 2>&1 && exit 0
if command -v apt-get >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ]; then
        echo "Installing bubblewrap for the executor's sandbox ..."
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq bubblewrap; } >/dev/null && exit 0
    elif sudo -n true 2>/dev/null; then
        echo "Installing bubblewrap for the executor's sandbox ..."
        { sudo -n apt-get update -qq && sudo -n apt-get install -y -qq bubblewrap; } >/dev/null && exit 0
    fi
    echo "bubblewrap is missing: the executor will refuse every operation. Type: sudo apt-get install -y bubblewrap" >&2
else
    echo "bubblewrap is missing: the executor will refuse every operation. Install the package 'bubblewrap' of your distribution." >&2
fi
