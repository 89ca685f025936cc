#!/usr/bin/env bash
# Sets up what the other make targets need: system packages, .venv, the package itself.
#   scripts/setup.sh run    what the program needs; without FUSE it says so and goes on
#   scripts/setup.sh test   the checkers too; with CI=true, missing FUSE is a failure
# The package manager runs only if something is missing (with sudo when not root). A stamp in
# .venv says what was set up, so that a second run takes a moment.
set -euo pipefail

purpose=${1:-run}
case $purpose in run | test) ;; *) echo "usage: $0 run|test" >&2; exit 2 ;; esac
cd "$(dirname "$0")/.."
venv=.venv
stamp=$venv/.cryptdrive-setup
# What was set up counts only for this folder and these files.
key=$({ pwd; cat pyproject.toml scripts/setup.sh; } | sha256sum | cut -c 1-32)

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# --- what is there -------------------------------------------------------------------------

find_python() { # prints the interpreter to use: the system's own if it is new enough
    local candidate
    for candidate in python3 python3.14 python3.13 python3.12 python3.11; do
        if have "$candidate" && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

can_make_venv() { [ -n "$python" ] && "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; }
venv_works() { $venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
has_pyfuse3() { $venv/bin/python -c 'import pyfuse3' >/dev/null 2>&1; }
has_fuse_library() { have pkg-config && pkg-config --exists fuse3; }
has_python_headers() {
    "$python" -c 'import os, sysconfig; os.stat(os.path.join(sysconfig.get_path("include"), "Python.h"))' 2>/dev/null
}

# Both print the names of the packages that bring what is missing, as $manager calls them.
missing_for_python() {
    if [ -z "$python" ]; then
        case $manager in apt) echo python3 python3-venv ;; dnf) echo python3.12 ;; esac
    elif ! can_make_venv; then
        case $manager in apt) echo "$(basename "$python")-venv" ;; dnf) echo "$(basename "$python")-pip" ;; esac
    fi
}

missing_for_fuse() {
    have fusermount3 || echo fuse3
    if has_pyfuse3; then return; fi
    have gcc || case $manager in apt) echo gcc libc6-dev ;; dnf) echo gcc ;; esac
    have pkg-config || case $manager in apt) echo pkg-config ;; dnf) echo pkgconf-pkg-config ;; esac
    has_fuse_library || case $manager in apt) echo libfuse3-dev ;; dnf) echo fuse3-devel ;; esac
    has_python_headers || case $manager in
        apt) echo "$(basename "$python")-dev" ;;
        dnf) echo "$(basename "$python")-devel" ;;
    esac
}

# Programs that the tests run against the drive, as clients and as judges.
missing_for_tests() {
    local each
    for each in cadaver curl git litmus rclone rsync; do have "$each" || echo "$each"; done
    PATH=$PATH:/usr/sbin:/sbin have mount.davfs || echo davfs2
    have getfattr || echo attr
    have setfacl || echo acl
    have ps || case $manager in apt) echo procps ;; dnf) echo procps-ng ;; esac
    have sqlite3 || case $manager in apt) echo sqlite3 ;; dnf) echo sqlite ;; esac
}

# --- the package manager -------------------------------------------------------------------

manager=
if have apt-get; then manager=apt; elif have dnf; then manager=dnf; fi

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
may_be_root() { # asks for sudo's password where there is somebody to ask
    [ "$(id -u)" = 0 ] && return
    have sudo || return 1
    if [ -t 0 ]; then sudo -v; else sudo -n true 2>/dev/null; fi
}

lists_are_fresh=
install_packages() { # names…; fails if they cannot be installed
    [ $# -gt 0 ] || return 0
    if [ -n "$manager" ] && ! may_be_root; then
        say "missing system packages, and sudo does not let us install them: $*"
        return 1
    fi
    say "installing system packages: $*"
    case $manager in
        apt)
            if [ -z "$lists_are_fresh" ]; then
                as_root apt-get -q -q -o DPkg::Lock::Timeout=300 update >&2 || say "apt-get update failed; going on with the lists that are there"
                lists_are_fresh=yes
            fi
            as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
                install --no-install-recommends "$@" >&2
            ;;
        dnf) as_root dnf -q -y install "$@" >&2 ;;
        *)
            say "neither apt-get nor dnf is there: install them by hand"
            return 1
            ;;
    esac
}

python=$(find_python) || python=

# --- a second run --------------------------------------------------------------------------

without_fuse() { # reason
    if [ "$purpose" = test ] && [ "${CI:-}" = true ]; then die "$1; in CI the FUSE tests must run"; fi
    say "$1: going on without FUSE, WebDAV works all the same"
}

if [ -f $stamp ] && venv_works; then
    read -r stamped_key stamped_purpose stamped_fuse <$stamp || true
    if [ "$purpose" = test ] && [ -n "$(missing_for_tests)" ]; then stamped_key=; fi
    if [ "$stamped_key" = "$key" ] && { [ "$stamped_purpose" = test ] || [ "$stamped_purpose" = "$purpose" ]; }; then
        if [ "$stamped_fuse" = yes ] && have fusermount3; then exit 0; fi
        if [ "$stamped_fuse" = no ] && [ "${CI:-}" != true ] && [ -n "$(missing_for_fuse)" ]; then
            without_fuse "some of FUSE's packages are missing ($(missing_for_fuse | xargs))"
            exit 0
        fi
    fi
fi

# --- the first run -------------------------------------------------------------------------

# shellcheck disable=SC2046  # one word is one package
install_packages $(missing_for_python) || true
python=$(find_python) || die "Python 3.11 or newer is needed and cannot be installed here"
can_make_venv || die "$python cannot make virtual environments: install its venv module (Debian: python3-venv)"

if ! venv_works || ! $venv/bin/python -m pip --version >/dev/null 2>&1; then
    say "making $venv with $python"
    "$python" -m venv --clear $venv
fi

fuse=yes
# shellcheck disable=SC2046
if ! install_packages $(missing_for_fuse); then
    fuse=no
    without_fuse "FUSE's packages cannot be installed"
fi

extra=
if [ "$purpose" = test ]; then
    extra=dev
    # shellcheck disable=SC2046
    if ! install_packages $(missing_for_tests); then
        if [ "${CI:-}" = true ]; then die "programs that the tests need cannot be installed"; fi
        say "going on without $(missing_for_tests | xargs): tests that need them fail or are left out"
    fi
fi
install_project() { # extras, separated by commas
    say "installing cryptdrive${1:+ with $1} into $venv"
    $venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input --editable ".${1:+[$1]}" >&2
}
if [ $fuse = yes ] && ! install_project "all${extra:+,$extra}"; then
    fuse=no
    without_fuse "pyfuse3 cannot be installed"
fi
if [ $fuse = no ]; then install_project "$extra" || die "installing failed; the lines above say why"; fi

echo "$key $purpose $fuse" >$stamp
