#!/usr/bin/env bash
#$ -S /bin/bash
#$ -N workers
#$ -q normal
#$ -P project
#$ -pe mpi 4
#$ -l h_rt=01:00:00
#$ -cwd
#$ -j y

unset MPIDASK_RUN_DIRECTORY MPIDASK_END_TIME MPIDASK_WALLTIME_WARNING MPIDASK_CORES MPIDASK_MEMORY  # those of an outer job
export MPIDASK_CORES=4
export MPIDASK_END_TIME=$(($(date +%s) + 3600))
export PRTE_MCA_plm_ssh_agent='qrsh -inherit -nostdin -V'
module load mpi
mpiexec -n 2 python -m mpidask.cli serve --no-scheduler --scheduler-file cluster.json &
launcher=$!
trap '{ case $(readlink /proc/$launcher/exe) in */bash | */sh | */dash | */ksh) children=$(cat /proc/$launcher/task/*/children) ;; *) children= ;; esac; kill -TERM ${children:-$launcher}; } 2>/dev/null' TERM HUP INT
while wait $launcher; status=$?; kill -0 $launcher 2>/dev/null; do :; done
[ $status -le 128 ] || { wait $launcher; status=$?; }
exit $status
