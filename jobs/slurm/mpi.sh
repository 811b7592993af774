#!/usr/bin/env bash
#SBATCH -J flights
#SBATCH -p normal
#SBATCH -A project
#SBATCH -N 2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=16384M
#SBATCH -t 01:00:00
#SBATCH --signal=B:USR1@60

unset MPIDASK_RUN_DIRECTORY MPIDASK_END_TIME MPIDASK_WALLTIME_WARNING MPIDASK_CORES MPIDASK_MEMORY  # those of an outer job
export MPIDASK_CORES=8
export MPIDASK_MEMORY=17179869184
export MPIDASK_END_TIME=$(($(date +%s) + 3600))
export MPIDASK_WALLTIME_WARNING="$HOME/.mpidask-walltime-$(hostname)-$$"
rm -f "$MPIDASK_WALLTIME_WARNING"
module load mpi
trap ': >"$MPIDASK_WALLTIME_WARNING"' USR1
(trap '' USR1; exec srun --ntasks=2 --ntasks-per-node=1 --cpus-per-task=8 python -m mpidask --workers-per-rank auto flights.py) &
launcher=$!
trap '{ case $(readlink /proc/$launcher/exe) in */bash | */sh | */dash | */ksh) children=$(cat /proc/$launcher/task/*/children) ;; *) children= ;; esac; kill -TERM ${children:-$launcher}; } 2>/dev/null' TERM HUP INT
while wait $launcher; status=$?; kill -0 $launcher 2>/dev/null; do :; done
[ $status -le 128 ] || { wait $launcher; status=$?; }
rm -f "$MPIDASK_WALLTIME_WARNING"
exit $status
