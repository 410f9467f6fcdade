# Helpers shared by the build scripts. Sourced, not run.
#
# Every build script is called as  SCRIPT INCLUDE_DIR CACHE_DIR  and ends in one of three ways:
#   exit 0   what it builds is under CACHE_DIR, built against the headers in INCLUDE_DIR
#   exit 77  it can't be had on this machine; standard output says "skipped: why"
#   else     it should have worked and did not; standard error says what failed
# Nothing is written outside CACHE_DIR, except that missing Debian packages are installed when the
# caller is root (COMPAT_NO_INSTALL=1 prevents that).

set -eu
LC_ALL=C
export LC_ALL
# found now: scripts change folders
tree_scripts=$(cd "$(dirname "$0")/../../scripts" && pwd)

skip() {
    echo "skipped: $*"
    exit 77
}

fail() {
    echo "$0: $*" >&2
    exit 1
}

# progress WHAT : what a person who waits may want to know.
progress() {
    echo "$*" >&2
}

# need_packages PACKAGE... : installs the missing ones by name; skips where that is impossible.
need_packages() {
    command -v dpkg-query >/dev/null 2>&1 || skip "no dpkg here, and Debian packages are needed: $*"
    missing=
    for wanted in "$@"; do
        dpkg-query -W -f '${Status}' "$wanted" 2>/dev/null | grep -q 'ok installed' ||
            missing="$missing $wanted"
    done
    [ -z "$missing" ] && return 0
    [ "${COMPAT_NO_INSTALL:-0}" = 0 ] || skip "COMPAT_NO_INSTALL is set, and missing are:$missing"
    [ "$(id -u)" = 0 ] || skip "not root, and Debian packages are missing:$missing"
    # shellcheck disable=SC2086
    install_packages $missing || skip "apt-get could not install:$missing"
}

install_packages() {
    # the package lists of a fresh machine are often absent or old: refresh only when needed
    apt_install "$@" && return 0
    apt_get -qq update >&2 && apt_install "$@"
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt_get -qq -y --no-install-recommends install "$@" >&2
}

# apt_get ARGUMENTS... : waits while another program uses the package manager.
apt_get() {
    "$tree_scripts/apt-get.sh" "$@"
}

# headers_stamp INCLUDE_DIR SCRIPT : a line that changes whenever the headers or the recipe change.
headers_stamp() {
    cat "$1"/net/*.h "$2" | sha256sum | cut -d' ' -f1
}

# up_to_date STAMP_FILE STAMP
up_to_date() {
    [ -f "$1" ] && [ "$(cat "$1")" = "$2" ]
}

# run_logged LOG COMMAND... : runs quietly; on failure shows the end of the log.
run_logged() {
    log=$1
    shift
    progress "$(basename "$PWD"): $*"
    "$@" >>"$log" 2>&1 || {
        tail -n 30 "$log" >&2
        fail "failed: $* (log: $log)"
    }
}

jobs() {
    nproc 2>/dev/null || echo 1
}
