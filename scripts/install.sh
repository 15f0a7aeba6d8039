#!/bin/sh
# Installs what is missing, and nothing when nothing is: Debian packages (root or sudo), then the virtual environment.
#
#   scripts/install.sh run [fast] [test] [lint] [bench]
#
# fast     the compiler that makes the nightly run several times faster (numba)
# PYTHON   the Python to build on, 3.11 or newer (python3)
# NIGHTFEED_VENV   where the virtual environment lives (.venv)
set -eu
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python3}
VENV=${NIGHTFEED_VENV:-.venv}
# Debian keeps servers where the PATH of an ordinary user does not look.
SEARCH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
POLICY=/usr/sbin/policy-rc.d

fail() {
    echo "install: $*" >&2
    exit 1
}

have() {
    for name in "$@"; do
        PATH=$SEARCH command -v "$name" >/dev/null 2>&1 && return 0
    done
    return 1
}

nginx_has_lua() {
    have nginx || return 1
    built=$(PATH=$SEARCH nginx -V 2>&1)
    case $built in *ngx_lua*|*openresty*) return 0 ;; esac
    folder=$(printf '%s\n' "$built" | sed -n 's/.*--modules-path=\([^ ]*\).*/\1/p')
    [ -e "${folder:-/usr/lib/nginx/modules}/ngx_http_lua_module.so" ]
}

lua_has_cjson() {
    for file in /usr/lib/*/lua/5.1/cjson.so /usr/local/lib/lua/5.1/cjson.so; do
        [ ! -e "$file" ] || return 0
    done
    return 1
}

# The Debian packages that the given purposes lack, on one line.
missing_packages() {
    packages=
    have "$PYTHON" || packages="$packages python3"
    if [ ! -x "$VENV/bin/pip" ]; then
        "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || packages="$packages python3-venv"
    fi
    if ! have openresty; then
        have nginx || packages="$packages nginx"
        nginx_has_lua || packages="$packages libnginx-mod-http-lua"
        lua_has_cjson || packages="$packages lua-cjson"
    fi
    have redis-server || packages="$packages redis-server"
    for purpose in "$@"; do
        case $purpose in
            run|fast) ;;
            test)
                have chromium chromium-browser google-chrome google-chrome-stable || packages="$packages chromium"
                have tsc || packages="$packages node-typescript"
                ;;
            lint) have luacheck || packages="$packages lua-check" ;;
            bench) have wrk || packages="$packages wrk" ;;
            *) fail "unknown purpose $purpose: run, fast, test, lint or bench" ;;
        esac
    done
    echo "${packages# }"
}

# As root. Debian starts a server as soon as it is installed, on its usual port: not here, and not at the next boot.
install_packages() {
    trap restore_policy EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    deny_starts
    export DEBIAN_FRONTEND=noninteractive
    # A fresh container has no package lists, and old lists name versions that are gone, or have known holes.
    apt-get update -qq || echo "install: apt-get update failed: installing what older package lists name" >&2
    apt-get install -qq -y --no-install-recommends "$@" || fail "apt-get could not install: $*"
    if have systemctl; then
        for package in "$@"; do
            case $package in
                nginx|redis-server) systemctl disable --quiet "$package" || true ;;
            esac
        done
    fi
}

deny_starts() {
    kept=
    if [ -x "$POLICY" ]; then
        # Containers often forbid all starts already.
        "$POLICY" redis-server start >/dev/null 2>&1 || [ $? -ne 101 ] || return 0
        kept=$(mktemp "$POLICY.XXXXXX")
        mv "$POLICY" "$kept"
    fi
    denied=yes
    printf '#!/bin/sh\nexit 101\n' >"$POLICY"
    chmod 755 "$POLICY"
}

restore_policy() {
    if [ "${denied:-}" = yes ]; then
        rm -f "$POLICY"
        [ -z "$kept" ] || mv "$kept" "$POLICY"
    fi
}

debian() {
    packages=$(missing_packages "$@")
    [ -n "$packages" ] || return 0
    have apt-get || fail "these Debian packages are missing, and there is no apt-get here: $packages"
    echo "installing Debian packages: $packages"
    if [ "$(id -u)" = 0 ]; then
        as_root=
    elif have sudo; then
        as_root=sudo
    else
        fail "these Debian packages are missing, and only root can install them: $packages
         Run this as root:  apt-get update && apt-get install --no-install-recommends $packages"
    fi
    # shellcheck disable=SC2086 # the names are words
    $as_root /bin/sh scripts/install.sh --packages $packages
}

python() {
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "Python 3.11 or newer is needed; $PYTHON is $("$PYTHON" --version 2>&1). Name another: PYTHON=python3.12 make …"
    [ -x "$VENV/bin/python" ] && [ -x "$VENV/bin/pip" ] || "$PYTHON" -m venv "$VENV"
    "$VENV/bin/python" scripts/install_check.py "$@" && return
    # The benchmarks' load generator is no Python package.
    extras=$(printf '%s\n' "$@" | sed '/^run$/d; /^bench$/d' | paste -s -d , -)
    echo "installing Python packages into $VENV"
    "$VENV/bin/python" -m pip install --quiet --editable ".${extras:+[$extras]}"
}

if [ "${1:-}" = --packages ]; then
    shift
    install_packages "$@"
else
    debian "$@"
    python "$@"
fi
