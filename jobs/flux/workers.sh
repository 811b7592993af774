#!/usr/bin/env bash
# flux: --job-name=workers
# flux: --queue=normal
# flux: --bank=project
# flux: --nodes=1
# flux: --nslots=2
# flux: --cores-per-slot=2
# flux: --time-limit=3600s

unset MPIDASK_RUN_DIRECTORY MPIDASK_END_TIME MPIDASK_WALLTIME_WARNING MPIDASK_CORES MPIDASK_MEMORY  # those of an outer job
export MPIDASK_CORES=4
export MPIDASK_END_TIME=$(($(date +%s) + 3600))
module load mpi
flux run --nodes=1 --ntasks=2 --cores-per-task=2 python -m mpidask.cli serve --no-scheduler --scheduler-file cluster.json &
launcher=$!
trap '{ case $(readlink /proc/$launcher/exe) in */bash | */sh | */dash | */ksh) children=$(cat /proc/$launcher/task/*/children) ;; *) children= ;; esac; kill -TERM ${children:-$launcher}; } 2>/dev/null' TERM HUP INT
while wait $launcher; status=$?; kill -0 $launcher 2>/dev/null; do :; done
[ $status -le 128 ] || { wait $launcher; status=$?; }
exit $status
