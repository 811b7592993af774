#!/bin/bash
# Run dask-jobqueue's own test suite with its name replaced, on a batch system: jobqueue.sh SYSTEM [pytest options]
# SYSTEM is local, slurm, sge, oar or torque; the machine's batch systems are those of tests/machines.
set -eu
root=$(realpath "$(dirname "$0")/../..")
system=$1
shift
suite=$(mktemp -d)
trap 'rm -rf "$suite"' EXIT
python=$root/.venv-mpich/bin/python
"$python" -m pip download --quiet --no-deps --no-binary dask-jobqueue --dest "$suite" dask-jobqueue==0.9.0
tar -xzf "$suite"/dask_jobqueue-*.tar.gz -C "$suite" --strip-components=3 --wildcards '*/dask_jobqueue/tests/test_*.py'
"$python" -m pip install --quiet --disable-pip-version-check --target "$suite/plugins" 'pytest-asyncio<1' 'pytest<9'
rm "$suite"/*.tar.gz
rm "$suite"/test_runner.py # SLURMRunner: `mpidask run` is instead
# Its modules are one here; its LocalCluster would hide distributed's.
sed -i -E -e 's/dask_jobqueue\.local import LocalCluster/mpidask.jobqueue import LocalJobCluster as LocalCluster/' \
    -e 's/^from (dask_jobqueue\.tests|\.) import QUEUE_WAIT/QUEUE_WAIT = 60/' \
    -e 's/dask_jobqueue\.(core|pbs|slurm|sge|lsf|oar|moab|htcondor)/mpidask.jobqueue/' \
    -e 's/import LSFCluster, lsf/import LSFCluster/' \
    -e 's/dask_jobqueue/mpidask.jobqueue/' \
    -e 's/^@pytest.mark.skipif\(slurm_cores.*/@pytest.mark.skip(reason="SLURMRunner")/' "$suite"/test_*.py
cp "$root/tests/drop_in/jobqueue.py" "$suite/conftest.py"
cd "$root/tests"
# The suite expects addresses that begin with tcp where it asks for nothing else.
export DASK_MPIDASK__TLS=false
exec "$python" drop_in/on_machine.py "$system" "$suite" "$@"
