#!/bin/bash
# A real Slurm on the simulated nodes: slurm.sh up | down
set -eu
cd "$(dirname "$0")"
. ./lib.sh
NODES="mn1 mn2 mn3 mn4"
PACKAGES="munge slurmctld slurmd slurm-client slurmdbd mariadb-server tcsh"
ACCOUNTS=/run/mysqld/mysqld.sock # where Slurm looks for it
MARK="mpidask-lab $(cksum < slurm.sh)" # of a configuration: that of another version of this file is replaced

up() {
    ./nodes.sh up
    ./install.sh $PACKAGES
    if [ -z "$(processes '^slurmctld -f /etc')" ] || ! grep -q "$MARK" /etc/slurm/slurm.conf; then
        down
        configure
        install -d -m 755 -o munge -g munge /run/munge
        munge -n 2>/dev/null | unmunge >/dev/null 2>&1 || { rm -f /run/munge/munge.socket.2*; runuser -u munge -- munged; }
        rm -rf /var/lib/slurm/slurmctld /var/spool/slurmd.mn*
        mkdir -p /var/lib/slurm/slurmctld /var/log/slurm
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
        case $(sinfo -h -n $node -o %T) in *down* | *drain*) scontrol update nodename=$node state=resume ;; esac
    done
    for attempt in $(seq 400); do
        [ "$(sinfo -h -N -p debug -t idle,mix,alloc -o %N 2>/dev/null | wc -l)" = 4 ] && return
        sleep 0.05
    done
    sinfo >&2
    exit 1
}

configure() {
    # Times are short so that failures show soon. OverMemoryKill: there are no control groups to limit memory with.
    cat > /etc/slurm/slurm.conf <<END
# $MARK
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
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
NodeName=mn[1-4] NodeHostname=mn[1-4] NodeAddr=10.177.0.[1-4] CPUs=4 RealMemory=4096 State=UNKNOWN
PartitionName=debug Nodes=mn[1-4] Default=YES MaxTime=60 DefaultTime=10 State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=small Nodes=mn1 MaxTime=5 DefaultTime=5 State=UP PriorityTier=10 PreemptMode=OFF
PartitionName=scavenge Nodes=mn[1-4] MaxTime=60 DefaultTime=10 State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=8
END
    echo CgroupPlugin=cgroup/v1 > /etc/slurm/cgroup.conf # or slurmd ends where there are none
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
    stop '^slurmd -N mn'
    stop '^slurmctld -f /etc'
    stop '^slurmdbd'
    stop '^/usr/sbin/mariadbd .*mpidask-lab'
}

case ${1:-} in
    up | down) "$1" ;;
    *) echo "usage: $0 up | down" >&2; exit 2 ;;
esac
