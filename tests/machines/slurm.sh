#!/bin/bash
# A real Slurm on the simulated nodes: slurm.sh up | down
set -eu
cd "$(dirname "$0")"
. ./lib.sh
NODES="mn1 mn2 mn3 mn4"
PACKAGES="munge slurmctld slurmd slurm-client"

up() {
    ./nodes.sh up
    ./install.sh $PACKAGES
    if [ -z "$(processes '^slurmctld -f /etc')" ] || ! grep -q mpidask-lab /etc/slurm/slurm.conf; then
        down
        configure
        install -d -m 755 -o munge -g munge /run/munge
        munge -n 2>/dev/null | unmunge >/dev/null 2>&1 || { rm -f /run/munge/munge.socket.2*; runuser -u munge -- munged; }
        rm -rf /var/lib/slurm/slurmctld /var/spool/slurmd.mn*
        mkdir -p /var/lib/slurm/slurmctld /var/log/slurm
        slurmctld -f /etc/slurm/slurm.conf
    fi
    for node in $NODES; do
        mkdir -p /var/spool/slurmd.$node
        install -d -m 1777 /var/tmp/slurm.$node
        [ -n "$(processes "^slurmd -N $node")" ] || ./nodes.sh exec $node slurmd -N $node
    done
    for node in $NODES; do
        case $(sinfo -h -n $node -o %T) in *down* | *drain*) scontrol update nodename=$node state=resume ;; esac
    done
    for attempt in $(seq 400); do
        [ "$(sinfo -h -p debug -t idle -o %D 2>/dev/null)" = 4 ] && return
        sleep 0.05
    done
    sinfo >&2
    exit 1
}

configure() {
    # Times are short so that failures show soon. OverMemoryKill: there are no control groups to limit memory with.
    cat > /etc/slurm/slurm.conf <<END
ClusterName=mpidask-lab
SlurmctldHost=$(hostname)(10.177.0.254)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=cred_expire=5
StateSaveLocation=/var/lib/slurm/slurmctld
SlurmdSpoolDir=/var/spool/slurmd.%n
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.%n.pid
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdLogFile=/var/log/slurm/slurmd.%n.log
TmpFS=/var/tmp/slurm.%n
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=1024
MpiDefault=none
ReturnToService=2
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,bf_interval=1
KillWait=5
MinJobAge=300
SlurmctldTimeout=30
SlurmdTimeout=10
AccountingStorageType=accounting_storage/none
NodeName=mn[1-4] NodeHostname=mn[1-4] NodeAddr=10.177.0.[1-4] CPUs=4 RealMemory=4096 State=UNKNOWN
PartitionName=debug Nodes=mn[1-4] Default=YES MaxTime=60 DefaultTime=10 State=UP
PartitionName=small Nodes=mn1 MaxTime=5 DefaultTime=5 State=UP
END
    echo CgroupPlugin=cgroup/v1 > /etc/slurm/cgroup.conf # or slurmd ends where there are none
}

down() {
    stop '^slurmd -N mn'
    stop '^slurmctld -f /etc'
}

case ${1:-} in
    up | down) "$1" ;;
    *) echo "usage: $0 up | down" >&2; exit 2 ;;
esac
