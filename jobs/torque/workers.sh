#!/usr/bin/env bash
#PBS -S /bin/bash
#PBS -N workers
#PBS -q normal
#PBS -A project
#PBS -l nodes=1:ppn=4
#PBS -l mem=16384mb
#PBS -l walltime=01:00:00
#PBS -j oe

unset $(compgen -e | grep -xE 'MPIDASK_RUN_DIRECTORY|MPIDASK_END_TIME|MPIDASK_WALLTIME_WARNING|MPIDASK_GRACE_TIME|MPIDASK_CORES|MPIDASK_MEMORY|PMI2?_(RANK|SIZE|FD|PORT|ID|JOBID|KVS\w*|SPAWNED|APPNUM|CONTROL_PORT)|PMIX_(RANK|NAMESPACE|ID|HOSTNAME|VERSION|(SERVER|SECURITY|BFROP|GDS|PTL)_\w+)|PALS_\w+|HYDI_\w+|MPI_LOCAL\w+|OMPI_(COMM_WORLD|UNIVERSE|WORLD|APP_CTX|FIRST|NUM_APP|FILE|COMMAND|ARGV)\w*|OMPI_MCA_(num_procs|initial_wdir|cpu_type|ess_\w+|orte_(ess|hnp|jobid|local|app|launch)\w*)')  # those of a job or a launcher around this one
export MPIDASK_CORES=4
export MPIDASK_MEMORY=17179869184
export MPIDASK_END_TIME=$(($(date +%s) + 3600))
[[ $(timeout 20 qstat -f "$PBS_JOBID" 2>/dev/null) =~ Resource_List.walltime\ =\ ([0-9]+):([0-9]+):([0-9]+) ]] && export MPIDASK_END_TIME=$(($(date +%s) + 3600 * 10#${BASH_REMATCH[1]} + 60 * 10#${BASH_REMATCH[2]} + 10#${BASH_REMATCH[3]}))
(  # lines that are not ours may end, replace or change this shell; the one around it tells how it ended
cd "$PBS_O_WORKDIR" || exit 1
module load mpi
mpiexec -n 2 python -m mpidask.cli serve --no-scheduler --scheduler-file cluster.json &
launcher=$! told=-9
trap '[ $((SECONDS - told)) -lt 2 ] || { told=$SECONDS; case $(readlink /proc/$launcher/exe) in */bash | */sh | */dash | */ksh) children=$(cat /proc/$launcher/task/*/children) ;; *) children= ;; esac; kill -TERM ${children:-$launcher}; } 2>/dev/null || :' TERM HUP INT
while wait $launcher; status=$?; kill -0 $launcher 2>/dev/null; do :; done
[ $status -le 128 ] || { wait $launcher && status=0 || status=$?; }
exit $status
) &
body=$!
trap 'kill -TERM $body 2>/dev/null' TERM HUP INT
while wait $body; status=$?; kill -0 $body 2>/dev/null; do :; done
[ $status -le 128 ] || { wait $body && status=0 || status=$?; }
exit $status
