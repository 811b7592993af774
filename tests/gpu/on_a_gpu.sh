#!/bin/sh
# Check on a machine with NVIDIA GPUs what the other tests check with stand-ins, in less than 8 minutes.
#
#   tests/gpu/on_a_gpu.sh                 set up .venv-gpu from .gpu-wheels or, without it, from the package index;
#                                         then run tests/gpu. Further words go to pytest: -k inside
#   tests/gpu/on_a_gpu.sh wheels [3.12]   download to .gpu-wheels what that version of Python needs (60 MB), for a
#                                         machine without a network
#
# The tests of UCX run where distributed-ucxx is installed as well: .venv-gpu/bin/pip install distributed-ucxx-cu12
# libucx-cu12 (80 MB). Results are also written to $OUT/gpu.xml, if OUT is set.
set -eu
cd "$(dirname "$0")/../.."

CONSTRAINTS=requirements/constraints.txt
# dask-cuda with what its import needs; the package itself asks for particular versions of Dask.
DASK_CUDA="dask-cuda cuda-core cuda-bindings<13 cuda-pathfinder numpy zict"

wheels() {
    python=${PYTHON:-python3}
    rm -rf .gpu-wheels
    "$python" -m pip wheel --quiet --no-deps -w .gpu-wheels .
    get="$python -m pip download --quiet --dest .gpu-wheels --only-binary :all: --python-version ${1:-3.12}"
    $get -c "$CONSTRAINTS" .gpu-wheels/mpidask-*.whl mpich pip pytest pytest-xdist nvidia-ml-py
    $get --no-deps $DASK_CUDA
    du -sh .gpu-wheels
}

environment() {
    [ -x .venv-gpu/bin/python ] || python3 -m venv --without-pip .venv-gpu
    if [ -d .gpu-wheels ]; then
        installer=$(echo .gpu-wheels/pip-*.whl)/pip # a file in a zip file, which python runs
        .venv-gpu/bin/python "$installer" install --quiet --no-index --no-deps .gpu-wheels/*.whl
    else
        .venv-gpu/bin/python -m ensurepip >/dev/null
        .venv-gpu/bin/python -m pip install --quiet -c "$CONSTRAINTS" '.[mpich]' pytest pytest-xdist nvidia-ml-py
        .venv-gpu/bin/python -m pip install --quiet --no-deps $DASK_CUDA
    fi
    .venv-gpu/bin/python -m compileall -q -j 0 .venv-gpu/lib >/dev/null || true
}

if [ "${1:-}" = wheels ]; then
    shift
    wheels "$@"
    exit
fi
nvidia-smi -L || true
ls -l /dev/nvidia* /proc/driver/nvidia/gpus || true
environment
exec timeout 400 .venv-gpu/bin/pytest tests/gpu -v --durations=10 ${OUT:+--junitxml="$OUT/gpu.xml"} "$@"
