#!/bin/bash
# Four simulated nodes on this machine: nodes.sh up | down | exec NODE COMMAND...
# A node is a network, a host name, a boot id and mounts (/dev/shm, /etc/hosts) of its own; processes, users and files are
# shared, and so are cores and memory, of which each node takes all to be its own.
# Needs root, iproute2, util-linux and openssh-server.
set -eu
cd "$(dirname "$0")"
. ./lib.sh
NODES="mn1 mn2 mn3 mn4"
BRIDGE=mpidask-lab
NET=10.177.0
STATE=/run/mpidask-lab

up() {
    ./install.sh iproute2 util-linux openssh-server openssh-client
    mkdir -p $STATE /run/sshd
    [ -d /sys/class/net/$BRIDGE ] || { ip link add $BRIDGE type bridge; ip addr add $NET.254/24 dev $BRIDGE; ip link set $BRIDGE up; }
    i=0
    hosts="127.0.0.1 localhost
$NET.254 $(hostname)"
    for node in $NODES; do
        i=$((i + 1))
        hosts="$hosts
$NET.$i $node"
    done
    # Both are mounted on nodes that are in use.
    [ "$(cat $STATE/hosts 2>/dev/null)" = "$hosts" ] || echo "$hosts" > $STATE/hosts
    # Without a name server lookups of unknown names would wait for 40 s.
    [ -s $STATE/resolv.conf ] || printf 'nameserver 127.0.0.1\noptions timeout:1 attempts:1\n' > $STATE/resolv.conf
    i=0
    for node in $NODES; do
        i=$((i + 1))
        grep -qw $node /etc/hosts || echo "$NET.$i $node" >> /etc/hosts
    done
    i=0
    for node in $NODES; do
        i=$((i + 1))
        alive $node || start $node $i
    done
}

alive() {
    [ -s $STATE/$1.pid ] && grep -qs '^State:.[^Z]' /proc/"$(cat $STATE/$1.pid)"/status
}

start() { # NODE NUMBER
    rm -f $STATE/$1.pid
    ip link del lab$2 2>/dev/null || true
    ip netns del $1 2>/dev/null || true
    ip netns add $1
    ip link add lab$2 type veth peer name eth0 netns $1
    ip link set lab$2 master $BRIDGE up
    ip -n $1 link set lo up
    ip -n $1 addr add $NET.$2/24 dev eth0
    ip -n $1 link set eth0 up
    ip -n $1 route add default via $NET.254
    # Not `ip netns exec`: its /sys has no control groups, and slurmd ends. Another /sys it must be: UCX uses the network
    # interfaces that are in it, and those of this machine may have other names.
    setsid nsenter --net=/run/netns/$1 unshare --uts --mount --propagation private sh -c "
        hostname $1
        mount -t tmpfs -o mode=1777 shm /dev/shm
        mkdir -p $STATE/cgroup
        mount --rbind /sys/fs/cgroup $STATE/cgroup
        mount -t sysfs sysfs /sys
        mount --rbind $STATE/cgroup /sys/fs/cgroup
        mount --bind $STATE/hosts /etc/hosts
        mount --bind $STATE/resolv.conf /etc/resolv.conf
        cat /proc/sys/kernel/random/uuid > $STATE/$1.boot
        mount --bind $STATE/$1.boot /proc/sys/kernel/random/boot_id
        echo \$\$ > $STATE/$1.pid.new; mv $STATE/$1.pid.new $STATE/$1.pid
        exec sleep infinity" </dev/null >/dev/null 2>&1 &
    until [ -s $STATE/$1.pid ]; do sleep 0.02; done
    inside $1 /usr/sbin/sshd -o PidFile=$STATE/sshd.$1.pid
}

inside() {
    node=$1
    shift
    nsenter -t "$(cat $STATE/$node.pid)" --net --uts --mount -- "$@"
}

down() {
    stop "/usr/sbin/sshd .*$STATE/sshd"
    for node in $NODES; do
        [ -s $STATE/$node.pid ] && kill "$(cat $STATE/$node.pid)" 2>/dev/null || true
        rm -f $STATE/$node.pid
        ip netns del $node 2>/dev/null || true
    done
    ip link del $BRIDGE 2>/dev/null || true
}

case ${1:-} in
    up) up ;;
    down) down ;;
    exec) shift; inside "$@" ;;
    *) echo "usage: $0 up | down | exec NODE COMMAND..." >&2; exit 2 ;;
esac
