#!/usr/bin/env bash
#OAR -n flights
#OAR -q normal
#OAR --project project
#OAR -l /nodes=2/core=8,walltime=01:00:00
#OAR --checkpoint 60
#OAR --signal 10

unset MPIDASK_RUN_DIRECTORY MPIDASK_END_TIME MPIDASK_WALLTIME_WARNING MPIDASK_CORES MPIDASK_MEMORY  # those of an outer job
export MPIDASK_CORES=8
export MPIDASK_END_TIME=$(($(date +%s) + 3600))
export MPIDASK_WALLTIME_WARNING="$HOME/.mpidask-walltime-$(hostname)-$$"
rm -f "$MPIDASK_WALLTIME_WARNING"
module load mpi
trap ': >"$MPIDASK_WALLTIME_WARNING"' USR1
(trap '' USR1; exec mpiexec -n 2 python -m mpidask --workers-per-rank auto flights.py) &
launcher=$!
trap '{ case $(readlink /proc/$launcher/exe) in */bash | */sh | */dash | */ksh) children=$(cat /proc/$launcher/task/*/children) ;; *) children= ;; esac; kill -TERM ${children:-$launcher}; } 2>/dev/null' TERM HUP INT
while wait $launcher; status=$?; kill -0 $launcher 2>/dev/null; do :; done
[ $status -le 128 ] || { wait $launcher; status=$?; }
rm -f "$MPIDASK_WALLTIME_WARNING"
exit $status
