#!/usr/bin/env bash
# flux: --job-name=workers
# flux: --queue=normal
# flux: --bank=project
# flux: --nodes=1
# flux: --nslots=2
# flux: --cores-per-slot=2
# flux: --time-limit=3600s

unset $(compgen -e | grep -xE 'MPIDASK_RUN_DIRECTORY|MPIDASK_END_TIME|MPIDASK_WALLTIME_WARNING|MPIDASK_GRACE_TIME|MPIDASK_CORES|MPIDASK_MEMORY|PMI2?_(RANK|SIZE|FD|PORT|ID|JOBID|KVS\w*|SPAWNED|APPNUM|CONTROL_PORT)|PMIX_(RANK|NAMESPACE|ID|HOSTNAME|VERSION|(SERVER|SECURITY|BFROP|GDS|PTL)_\w+)|PALS_\w+|HYDI_\w+|MPI_LOCAL\w+|OMPI_(COMM_WORLD|UNIVERSE|WORLD|APP_CTX|FIRST|NUM_APP|FILE|COMMAND|ARGV)\w*|OMPI_MCA_(num_procs|initial_wdir|cpu_type|ess_\w+|orte_(ess|hnp|jobid|local|app|launch)\w*)')  # those of a job or a launcher around this one
export MPIDASK_CORES=4
export MPIDASK_END_TIME=$(($(date +%s) + 3600))
left=$(flux job timeleft 2>/dev/null); [[ $left =~ ^[0-9]{1,9}$ ]] && export MPIDASK_END_TIME=$(($(date +%s) + left))
(  # lines that are not ours may end, replace or change this shell; the one around it tells how it ended
uri=$(flux getattr parent-uri 2>/dev/null) && [ -n "$uri" ] && export MPIDASK_FLUX_URI=$uri
module load mpi
flux run --nodes=1 --ntasks=2 --cores-per-task=2 python -m mpidask.cli serve --no-scheduler --scheduler-file cluster.json &
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
