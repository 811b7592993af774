#!/usr/bin/env bash
#PBS -S /bin/bash
#PBS -N flights
#PBS -q normal
#PBS -A project
#PBS -l nodes=2:ppn=8
#PBS -l mem=32768mb
#PBS -l walltime=01:00:00
#PBS -j oe

unset MPIDASK_RUN_DIRECTORY MPIDASK_END_TIME MPIDASK_WALLTIME_WARNING MPIDASK_CORES MPIDASK_MEMORY  # those of an outer job
export MPIDASK_CORES=8
export MPIDASK_MEMORY=17179869184
export MPIDASK_END_TIME=$(($(date +%s) + 3600))
cd "$PBS_O_WORKDIR" || exit 1
module load mpi
mpiexec -n 2 python -m mpidask --workers-per-rank auto flights.py &
launcher=$!
trap '{ case $(readlink /proc/$launcher/exe) in */bash | */sh | */dash | */ksh) children=$(cat /proc/$launcher/task/*/children) ;; *) children= ;; esac; kill -TERM ${children:-$launcher}; } 2>/dev/null' TERM HUP INT
while wait $launcher; status=$?; kill -0 $launcher 2>/dev/null; do :; done
[ $status -le 128 ] || { wait $launcher; status=$?; }
exit $status
