#!/usr/bin/env bash
#SBATCH -J workers
#SBATCH -p normal
#SBATCH -A project
#SBATCH -N 1
#SBATCH --ntasks-per-node=2
#SBATCH --cpus-per-task=2
#SBATCH --mem=16384M
#SBATCH -t 01:00:00
#SBATCH --signal=B:USR1@60

unset $(compgen -e | grep -xE 'MPIDASK_RUN_DIRECTORY|MPIDASK_END_TIME|MPIDASK_WALLTIME_WARNING|MPIDASK_GRACE_TIME|MPIDASK_CORES|MPIDASK_MEMORY|PMI2?_(RANK|SIZE|FD|PORT|ID|JOBID|KVS\w*|SPAWNED|APPNUM|CONTROL_PORT)|PMIX_(RANK|NAMESPACE|ID|HOSTNAME|VERSION|(SERVER|SECURITY|BFROP|GDS|PTL)_\w+)|PALS_\w+|HYDI_\w+|MPI_LOCAL\w+|OMPI_(COMM_WORLD|UNIVERSE|WORLD|APP_CTX|FIRST|NUM_APP|FILE|COMMAND|ARGV)\w*|OMPI_MCA_(num_procs|initial_wdir|cpu_type|ess_\w+|orte_(ess|hnp|jobid|local|app|launch)\w*)|SLURM_(CPU_BIND|MEM_BIND)\w*|SLURM_MEM_PER_(CPU|GPU)')  # those of a job or a launcher around this one
export MPIDASK_CORES=4
export MPIDASK_MEMORY=17179869184
export MPIDASK_END_TIME=$(($(date +%s) + 3600))
end=$(env -u SLURM_TIME_FORMAT -u SLURM_CLUSTERS timeout 20 squeue --noheader --jobs=$SLURM_JOB_ID --format=%e 2>/dev/null); [[ $end = [0-9]*T* ]] && export MPIDASK_END_TIME=$(date -d "$end" +%s)
export MPIDASK_WALLTIME_WARNING="$HOME/.mpidask-walltime-$(hostname)-$$"
rm -f "$MPIDASK_WALLTIME_WARNING"
trap ': >"$MPIDASK_WALLTIME_WARNING"' USR1
grace=$(if timeout 20 scontrol show config 2>/dev/null | grep -q '^PreemptType *= *preempt/qos'; then timeout 20 sacctmgr --noheader --parsable2 show qos where name="$SLURM_JOB_QOS" format=GraceTime 2>/dev/null | awk '{n = split($0, part, /[-:]/); for (i = 1; i <= n; i++) s = s * (i == 2 && n == 4 ? 24 : 60) + part[i]; print s + 0; exit}'; else timeout 20 scontrol show partition "$SLURM_JOB_PARTITION" 2>/dev/null | sed -n "s/.*GraceTime=\([0-9]*\).*/\1/p"; fi)
preempting() { [ "${grace:-0}" -gt 0 ] && timeout 20 scontrol show job $SLURM_JOB_ID 2>/dev/null | awk '{for (i = 1; i <= NF; i++) {split($i, w, "="); v[w[1]] = w[2]}} END {exit !(v["PreemptTime"] ~ /^2/ && v["PreemptTime"] >= v["StartTime"])}'; }
[ "${grace:-0}" -eq 0 ] || export MPIDASK_GRACE_TIME=$grace
(  # lines that are not ours may end, replace or change this shell; the one around it tells how it ended
trap '' USR1
export SLURM_EXPORT_ENV=ALL
module load mpi
srun --export=ALL --ntasks=2 --ntasks-per-node=2 --cpus-per-task=2 python -m mpidask.cli serve --no-scheduler --scheduler-file cluster.json &
launcher=$! told=-9
trap '[ $((SECONDS - told)) -lt 2 ] || { told=$SECONDS; case $(readlink /proc/$launcher/exe) in */bash | */sh | */dash | */ksh) children=$(cat /proc/$launcher/task/*/children) ;; *) children= ;; esac; kill -TERM ${children:-$launcher}; } 2>/dev/null || :' TERM HUP INT
while wait $launcher; status=$?; kill -0 $launcher 2>/dev/null; do :; done
[ $status -le 128 ] || { wait $launcher && status=0 || status=$?; }
exit $status
) &
body=$!
trap 'kill -TERM $body 2>/dev/null' TERM HUP INT
if [ "${grace:-0}" -gt 0 ]; then
    (trap 'kill $!; exit' TERM
    while sleep $((grace / 4 + 1)) & wait $!; do
        preempting && { : >"$MPIDASK_WALLTIME_WARNING"; break; }
    done) 2>/dev/null &
    watch=$!
fi
while wait $body; status=$?; kill -0 $body 2>/dev/null; do :; done
[ $status -le 128 ] || { wait $body && status=0 || status=$?; }
kill $watch 2>/dev/null
while [ $status -ne 0 ] && preempting; do sleep 1; done
rm -f "$MPIDASK_WALLTIME_WARNING"
exit $status
