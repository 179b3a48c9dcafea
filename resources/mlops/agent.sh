# Runs one verb of the `mlops` command on a Jenkins agent. The step `mlops` hands this text to `sh` as it stands:
# everything that varies comes in the environment, so no value can become a command.
#
#   MLOPS_VERB          the verb
#   MLOPS_PARAMS        the project and its settings as JSON, read by the command itself
#   MLOPS_REPLY         file that receives the verb's record
#   MLOPS_BUILD         the build's own folder on this agent; a file `ended` in it ends the watchdog
#   MLOPS_PACKAGE       what to install: a folder with a checkout of mlops, a pip requirement, or git+URL[@REF], where URL
#                       is any that git knows; unset: the `mlops` found on PATH, else
#   MLOPS_ORIGIN        the library's own repository and version, in that form
#   MLOPS_AGENT_PYTHON  interpreter to use, 3.10 or newer
#
# The folder that this runs in is a stranger's checkout. So nothing but the command itself runs there, and no Python takes
# a module from it (-I): a pushed `hashlib.py`, `pip.py` or repository configuration would run as this agent's user.
#
# Plain POSIX shell: an agent's sh may be dash, busybox or an old bash. The exit code is the command's own;
# 2 (bad configuration) is also what a missing Python or package gives.
{ set +x; } 2>/dev/null
set -eu

# Says what is wrong in the log, and in the reply, so that the build can show it.
fail() {
    printf 'mlops: %s\n' "$@" >&2
    if [ -n "${MLOPS_REPLY:-}" ]; then
        said=$(printf '%s' "$*" | tr -d '\000-\037' | sed 's/[\\"]/\\&/g') || said=
        printf '{"summary": "%s"}' "$said" >"$MLOPS_REPLY"
    fi
    exit 2
}

# Agents in containers run as a user that passwd does not know: HOME is unset, or a folder nobody may write.
if [ ! -d "${HOME:-}" ] || [ ! -w "${HOME:-}" ]; then
    HOME="${WORKSPACE_TMP:-$(dirname "$MLOPS_BUILD")}/mlops-home" # never the checkout: settings in it would be the operator's
    mkdir -p "$HOME"
    export HOME
fi

# A Python of 3.10 or newer.
find_python() {
    found=
    for python in "${MLOPS_AGENT_PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11 python3.10; do
        if "$python" -I -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            return
        fi
        found=${found:-$("$python" --version 2>/dev/null || true)}
    done
    fail "no Python of 3.10 or newer on this agent (found: ${found:-none})" \
        '  remedy: install one, or name it in MLOPS_AGENT_PYTHON'
}

# The address and the reference (HEAD where none is given) of git+URL[@REF].
split() {
    url=${1#git+}
    ref=HEAD
    path=${url#*://}
    path=${path#*/} # the host's part may hold an @ of its own
    case $path in *@*)
        ref=${path##*@}
        url=${url%@"$ref"}
        ;;
    esac
}

# What the package is right now: the content of a folder, the commit behind a git reference, the requirement itself.
identify() {
    case $1 in
    git+*)
        split "$1"
        git ls-remote "$url" "$ref" || fail "$url does not answer" \
            "  remedy: give this agent's user access to it, or set MLOPS_PACKAGE to what can be installed"
        ;;
    esac
    if [ ! -d "$1" ]; then printf '%s\n' "$1"; fi # a folder is what is in it: every branch has a workspace of its own
    "$python" -I - "$1" <<'PYTHON'
import hashlib, pathlib, sys
root = pathlib.Path(sys.argv[1])
print(sys.version)
installed = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "mlops_lib/**/*", "containers/**/*")
for path in sorted(path for pattern in installed for path in root.glob(pattern)):
    if path.is_file() and path.suffix != ".pyc":
        print(path.relative_to(root), hashlib.sha256(path.read_bytes()).hexdigest())
PYTHON
}

# The virtual environment of exactly this package, made on its first use. Builds that need it at the same time each
# make their own and the first to finish is kept, so there is no lock that a killed build could leave behind.
provide() {
    if [ -f "$MLOPS_BUILD/environment" ]; then # one build, one version, though a branch may move meanwhile
        venv=$(cat "$MLOPS_BUILD/environment")
        if [ -d "$venv" ]; then return; fi
    fi
    # What builds of last month left; another build may be at it, too.
    find "$(dirname "$MLOPS_BUILD")" -mindepth 1 -maxdepth 1 -name 'mlops-[0-9]*' -mtime +30 -exec rm -rf {} + || true
    identity=$(identify "$MLOPS_PACKAGE")
    key=$(printf '%s' "$identity" | "$python" -I -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest()[:16])')
    cache=${MLOPS_HOME:-$HOME/.mlops}/jenkins
    venv=$cache/$key
    if [ ! -d "$venv" ]; then install; fi
    touch "$venv"
    printf '%s' "$venv" >"$MLOPS_BUILD/environment"
}

# A branch or tag by its name, a commit, or any other reference that the server gives by its full name.
checkout() {
    git clone --quiet "$url" "$partial/checkout" || return 1
    git -C "$partial/checkout" checkout --quiet "$ref" 2>/dev/null && return
    git -C "$partial/checkout" fetch --quiet origin "$ref" && git -C "$partial/checkout" checkout --quiet FETCH_HEAD
}

install() {
    mkdir -p "$cache"
    # What killed builds left, and versions that nothing has used for a month.
    find "$cache" -mindepth 1 -maxdepth 1 \( -name '*.partial.*' -mtime +1 -o -mtime +30 \) -exec rm -rf {} +
    partial=$(mktemp -d "$cache/$key.partial.XXXXXX")
    printf 'mlops: installing %s (once for this version)\n' "$MLOPS_PACKAGE" >&2
    if ! "$python" -I -m venv "$partial/venv" >&2; then
        rm -rf "$partial"
        fail 'this Python cannot make virtual environments' '  remedy: install its venv module (python3-venv)'
    fi
    source=$MLOPS_PACKAGE
    case $source in git+*)
        split "$source"
        if ! checkout >&2; then
            rm -rf "$partial"
            fail "$ref cannot be checked out of $url (git's reason is above)" '  remedy: correct MLOPS_PACKAGE'
        fi
        source=$partial/checkout
        ;;
    esac
    if [ -d "$source" ]; then # a build writes beside the sources: never in somebody's checkout
        mkdir "$partial/source"
        for item in mlops_lib containers pyproject.toml setup.py README.md LICENSE; do
            if [ -e "$source/$item" ]; then cp -RL "$source/$item" "$partial/source/"; fi
        done
        source=$partial/source
    fi
    if ! "$partial/venv/bin/python" -I -m pip install --quiet --disable-pip-version-check "$source" >&2; then
        rm -rf "$partial"
        fail "$MLOPS_PACKAGE cannot be installed (pip's reason is above)" '  remedy: correct MLOPS_PACKAGE'
    fi
    "$python" -I - "$partial/venv" "$venv" <<'PYTHON'
import os, sys
try:
    os.rename(sys.argv[1], sys.argv[2])
except OSError:
    if not os.path.isdir(sys.argv[2]):
        raise
PYTHON
    rm -rf "$partial"
}

if [ -z "${MLOPS_PACKAGE:-}" ] && ! command -v mlops >/dev/null; then
    MLOPS_PACKAGE=${MLOPS_ORIGIN:-}
fi
if [ -n "${MLOPS_PACKAGE:-}" ]; then
    export GIT_TERMINAL_PROMPT=0 # nobody is there to answer
    case $MLOPS_PACKAGE in . | .. | ./* | ../*) MLOPS_PACKAGE=$(cd "$MLOPS_PACKAGE" && pwd) ;; esac
    workspace=$PWD
    cd "$MLOPS_BUILD"
    find_python
    provide
    cd "$workspace"
    # By its interpreter: the scripts name a path that was renamed. Isolated: the current folder is a stranger's code,
    # and a module of his must not take the place of one of ours.
    set -- "$venv/bin/python" -I -m mlops_lib "$MLOPS_VERB" --json
elif command -v mlops >/dev/null; then
    set -- mlops "$MLOPS_VERB" --json
else
    fail 'mlops is not on this agent, and MLOPS_PACKAGE does not say what to install' \
        '  remedy: set MLOPS_PACKAGE in Manage Jenkins > System > Global properties > Environment variables'
fi

if [ "$MLOPS_VERB" != watch ]; then
    exec "$@" >"$MLOPS_REPLY"
fi

# The watchdog ends with the run, or with the stages beside it: they may fail before there is a run.
"$@" >"$MLOPS_REPLY" &
watchdog=$!
trap 'kill "$watchdog" 2>/dev/null' INT TERM
while kill -0 "$watchdog" 2>/dev/null; do
    if [ -e "$MLOPS_BUILD/ended" ]; then
        kill "$watchdog" 2>/dev/null || true
        wait "$watchdog" || true
        exit 0
    fi
    sleep 1
done
wait "$watchdog"
