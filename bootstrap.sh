#!/bin/sh
# Makes .venv, with the pinned packages of pyproject.toml: ./bootstrap.sh, or ./bootstrap.sh test for the tests' too.
# PYTHON=/path/to/python chooses the interpreter. Does nothing where all is there.
set -eu
cd "$(dirname "$0")"
extra=${1:-}

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# A name on the PATH proves nothing (version managers leave names that only print an error): run it.
fits() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

version() {
    "$1" -c 'import sys; print("Python", ".".join(map(str, sys.version_info[:3])))' 2>/dev/null || echo "not there, or does not run"
}

choose() {
    if [ -n "${PYTHON:-}" ]; then
        fits "$PYTHON" || fail "Python 3.11 or newer is needed, but PYTHON=$PYTHON is: $(version "$PYTHON")."
        echo "$PYTHON"
        return
    fi
    for name in python3.14 python3.13 python3.12 python3.11 python3; do
        if fits "$name"; then
            echo "$name"
            return
        fi
    done
    fail "Python 3.11 or newer is needed, but python3 is: $(version python3)." \
        "Install one (Debian, Ubuntu: apt install python3 python3-venv), or name it: make run PYTHON=/path/to/python3.11"
}

# What is installed, and where: an environment that was moved or copied does not work. A file for each extra.
wanted="$PWD $(cksum <pyproject.toml)"
made=.venv/blobkeep-made${extra:+-$extra}
if fits .venv/bin/python; then
    set -- "$made"
    [ -n "$extra" ] || set -- .venv/blobkeep-made* # with any extra, all is there without it, too
    for file in "$@"; do
        if [ "$(cat "$file" 2>/dev/null)" = "$wanted" ]; then
            exit 0
        fi
    done
fi

python=$(choose)
"$python" -c 'import venv, ensurepip' 2>/dev/null || {
    name=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    fail "$python ($(version "$python")) cannot make virtual environments: its venv module is missing." \
        "Debian, Ubuntu: apt install $name"
}

echo "Installing into .venv, on $(version "$python") ..." >&2
case "$(cat .venv/blobkeep-made* 2>/dev/null)" in
"$PWD "*) fits .venv/bin/python || "$python" -m venv --clear .venv ;;
*) "$python" -m venv --clear .venv ;;
esac
rm -f "$made"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input -e ".${extra:+[$extra]}" ||
    fail "The packages could not be installed: pip says why above. Behind a mirror, set PIP_INDEX_URL."
echo "$wanted" >"$made"
