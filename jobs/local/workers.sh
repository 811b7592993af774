#!/usr/bin/env bash
# asked for: 2 ranks of 2 cores

unset MPIDASK_RUN_DIRECTORY MPIDASK_END_TIME MPIDASK_WALLTIME_WARNING MPIDASK_CORES MPIDASK_MEMORY  # those of an outer job
export MPIDASK_END_TIME=$(($(date +%s) + 3600))
module load mpi
mpiexec -n 2 python -m mpidask.cli serve --no-scheduler --scheduler-file cluster.json &
launcher=$!
trap '{ case $(readlink /proc/$launcher/exe) in */bash | */sh | */dash | */ksh) children=$(cat /proc/$launcher/task/*/children) ;; *) children= ;; esac; kill -TERM ${children:-$launcher}; } 2>/dev/null' TERM HUP INT
while wait $launcher; status=$?; kill -0 $launcher 2>/dev/null; do :; done
[ $status -le 128 ] || { wait $launcher; status=$?; }
exit $status
