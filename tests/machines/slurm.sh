#!/bin/bash
# A real Slurm on the simulated nodes: slurm.sh up | far | down
# far: a second cluster beside it, with one node, where the QOS decides who makes room.
set -eu
cd "$(dirname "$0")"
. ./lib.sh
NODES="mn1 mn2 mn3 mn4"
PACKAGES="munge slurmctld slurmd slurm-client slurmdbd mariadb-server tcsh"
NODE="CPUs=4 RealMemory=4096 State=UNKNOWN"
ACCOUNTS=/run/mysqld/mysqld.sock # where Slurm looks for it
CANCEL='squeue -h -o %A | xargs -r scancel && until [ -z "$(squeue -h)" ]; do sleep 0.2; done' # slurmd leaves jobs
MARK="mpidask-lab $(cksum < slurm.sh)" # of a configuration: that of another version of this file is replaced

up() {
    ./nodes.sh up
    ./install.sh $PACKAGES
    if [ -z "$(processes '^slurmctld -f /etc/slurm/slurm.conf')" ] || ! grep -q "$MARK" /etc/slurm/slurm.conf; then
        down
        configure
        install -d -m 755 -o munge -g munge /run/munge
        munge -n 2>/dev/null | unmunge >/dev/null 2>&1 || { rm -f /run/munge/munge.socket.2*; runuser -u munge -- munged; }
        rm -rf /var/lib/slurm/mpidask-* /var/spool/slurmd.m[fn]*
        mkdir -p /var/lib/slurm/mpidask-lab /var/log/slurm
        accounting
        slurmctld -f /etc/slurm/slurm.conf
    fi
    [ -n "$(processes '^slurmdbd')" ] || accounting
    for node in $NODES; do
        mkdir -p /var/spool/slurmd.$node
        install -d -m 1777 /var/tmp/slurm.$node
        [ -n "$(processes "^slurmd -N $node")" ] || ./nodes.sh exec $node slurmd -N $node
    done
    for node in $NODES; do
        case $(sinfo -h -n $node -o %T) in *down* | *drain*) scontrol update nodename=$node state=resume || true ;; esac # it may have come by itself
    done
    for attempt in $(seq 400); do
        [ "$(sinfo -h -N -p debug -t idle,mix,alloc -o %N 2>/dev/null | wc -l)" = 4 ] && return
        sleep 0.05
    done
    sinfo >&2
    exit 1
}

configure() {
    {
        common mpidask-lab 6817 preempt/partition_prio
        cat <<END
NodeName=mn[1-4] NodeHostname=mn[1-4] NodeAddr=10.177.0.[1-4] $NODE
PartitionName=debug Nodes=mn[1-4] Default=YES MaxTime=60 DefaultTime=10 State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=small Nodes=mn1 MaxTime=5 DefaultTime=5 State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=scavenge Nodes=mn[1-4] MaxTime=60 DefaultTime=10 State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=35
PartitionName=scraps Nodes=mn[1-4] MaxTime=60 DefaultTime=10 State=UP PriorityTier=1 PreemptMode=REQUEUE
END
    } > /etc/slurm/slurm.conf
    {
        common mpidask-far 6837 preempt/qos
        cat <<END
NodeName=mf4 NodeHostname=mn4 NodeAddr=10.177.0.4 $NODE
PartitionName=far Nodes=mf4 Default=YES MaxTime=60 DefaultTime=10 State=UP
END
    } > /etc/slurm/far.conf
    echo CgroupPlugin=cgroup/v1 > /etc/slurm/cgroup.conf # or slurmd ends where there are none
}

# Print what the clusters have in common.
common() { # CLUSTER PORT PREEMPTION
    # Times are short so that failures show soon. OverMemoryKill: there are no control groups to limit memory with.
    cat <<END
# $MARK
ClusterName=$1
SlurmctldHost=$(hostname)(10.177.0.254)
SlurmctldPort=$2
SlurmdPort=$(($2 + 1))
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=cred_expire=10
StateSaveLocation=/var/lib/slurm/$1
SlurmdSpoolDir=/var/spool/slurmd.%n
SlurmctldPidFile=/run/slurmctld.$1.pid
SlurmdPidFile=/run/slurmd.%n.pid
SlurmctldLogFile=/var/log/slurm/slurmctld.$1.log
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
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=5,bf_interval=1
KillWait=5
MinJobAge=300
SlurmctldTimeout=30
SlurmdTimeout=30
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=10.177.0.254
PreemptType=$3
PreemptMode=REQUEUE
JobRequeue=1
END
}

far() {
    sacctmgr --immediate add qos low GraceTime=35 PreemptMode=requeue >/dev/null || true # they may be there
    sacctmgr --immediate modify qos low set GraceTime=35 >/dev/null || true # as an earlier version of this file had it
    sacctmgr --immediate add qos high Preempt=low >/dev/null || true
    mkdir -p /var/lib/slurm/mpidask-far /var/spool/slurmd.mf4
    install -d -m 1777 /var/tmp/slurm.mf4
    [ -n "$(processes '^slurmctld -f /etc/slurm/far.conf')" ] || slurmctld -f /etc/slurm/far.conf
    # Its nodes know this cluster alone.
    [ -n "$(processes '^slurmd -N mf4')" ] || ./nodes.sh exec mn4 unshare --mount --propagation private \
        sh -c 'mount --bind /etc/slurm/far.conf /etc/slurm/slurm.conf && exec slurmd -N mf4'
    for attempt in $(seq 400); do
        [ "$(sinfo -h -M mpidask-far -t idle -o %N 2>/dev/null | tail -1)" = mf4 ] && return
        sleep 0.05
    done
    sinfo -M mpidask-far >&2
    exit 1
}

# Start the database of finished jobs, which sacct asks, and what stands before it.
accounting() {
    install -d -o mysql -g mysql ${ACCOUNTS%/*}
    mkdir -p /var/log/slurm
    if [ -z "$(processes '^/usr/sbin/mariadbd .*mpidask-lab')" ]; then
        rm -f $ACCOUNTS
        setsid /usr/sbin/mariadbd --user=mysql --skip-networking --skip-grant-tables --socket=$ACCOUNTS \
            --pid-file=${ACCOUNTS%/*}/mpidask-lab.pid >/var/log/slurm/mariadb.log 2>&1 </dev/null &
        for attempt in $(seq 200); do
            mariadb-admin --socket=$ACCOUNTS ping >/dev/null 2>&1 && break
            sleep 0.05
        done
    fi
    cat > /etc/slurm/slurmdbd.conf <<END
DbdHost=localhost
SlurmUser=root
AuthType=auth/munge
LogFile=/var/log/slurm/slurmdbd.log
PidFile=/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
END
    chmod 600 /etc/slurm/slurmdbd.conf
    [ -n "$(processes '^slurmdbd')" ] || slurmdbd
    for attempt in $(seq 200); do
        sacctmgr --noheader --parsable2 show clusters >/dev/null 2>&1 && return
        sleep 0.05
    done
}

down() {
    [ -z "$(processes '^slurmctld -f /etc/slurm/slurm.conf')" ] || timeout 20 bash -c "$CANCEL" || true
    stop '^slurmd -N m[fn]'
    stop '^slurmctld -f /etc'
    stop '^slurmdbd'
    stop '^/usr/sbin/mariadbd .*mpidask-lab'
}

case ${1:-} in
    up | far | down) "$1" ;;
    *) echo "usage: $0 up | far | down" >&2; exit 2 ;;
esac
