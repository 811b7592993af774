#!/usr/bin/env bash
#BSUB -J flights
#BSUB -q normal
#BSUB -P project
#BSUB -n 16
#BSUB -R "span[ptile=8]"
#BSUB -R "rusage[mem=16384MB/host]"
#BSUB -W 01:00

unset MPIDASK_RUN_DIRECTORY MPIDASK_END_TIME MPIDASK_WALLTIME_WARNING MPIDASK_CORES MPIDASK_MEMORY  # those of an outer job
export MPIDASK_CORES=8
export MPIDASK_MEMORY=17179869184
export MPIDASK_END_TIME=$(($(date +%s) + 3600))
module load mpi
mpiexec -n 2 python -m mpidask --workers-per-rank auto flights.py &
launcher=$!
trap '{ case $(readlink /proc/$launcher/exe) in */bash | */sh | */dash | */ksh) children=$(cat /proc/$launcher/task/*/children) ;; *) children= ;; esac; kill -TERM ${children:-$launcher}; } 2>/dev/null' TERM HUP INT
while wait $launcher; status=$?; kill -0 $launcher 2>/dev/null; do :; done
[ $status -le 128 ] || { wait $launcher; status=$?; }
exit $status
