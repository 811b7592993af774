#!/bin/bash
# A real Grid Engine on the simulated nodes: sge.sh up | down
# Parallel environments: one, two (slots on each node), one_node, spread (round robin). Queue: all.q
set -eu
cd "$(dirname "$0")"
. ./lib.sh
NODES="mn1 mn2 mn3 mn4"
CELL=/var/lib/gridengine/default/common
HEAD=$(hostname)

up() {
    ./nodes.sh up
    packages
    install -d -o sgeadmin -g sgeadmin /run/gridengine /var/spool/gridengine/execd
    if [ -z "$(processes sge_qmaster)" ]; then
        # Before the first start: Debian's /etc/hosts calls this machine localhost, and Grid Engine believes it.
        echo "$HEAD localhost" > $CELL/host_aliases
        echo $HEAD > $CELL/act_qmaster
        sge_qmaster > /dev/null
        answers
        qdel -f -u '*' > /dev/null 2>&1 || true # jobs of one that was killed with its machine hold their slots for ever
    fi
    answers
    qconf -sq all.q 2>/dev/null | grep -q '^pe_list.*one_node' || configure >/dev/null
    for node in $NODES; do
        ./nodes.sh exec $node sh -c '[ -n "$(ss -Hltn sport = :6445)" ]' || ./nodes.sh exec $node /usr/sbin/sge_execd >/dev/null
    done
    for attempt in $(seq 300); do
        [ "$(qstat -f -q all.q 2>/dev/null | grep -c 'lx-amd64 *$')" = 4 ] && return
        sleep 0.1
    done
    qstat -f >&2
    exit 1
}

answers() {
    for attempt in $(seq 100); do qconf -sm >/dev/null 2>&1 && return; sleep 0.1; done
}

packages() {
    for package in gridengine-common gridengine-master gridengine-client gridengine-exec; do
        dpkg -s $package >/dev/null 2>&1 || printf '%s\n' "$package shared/gridenginemaster string $HEAD" \
            "$package shared/gridenginecell string default" "$package shared/gridengineconfig boolean true"
    done > /run/mpidask-lab/answers
    command -v debconf-set-selections >/dev/null && debconf-set-selections < /run/mpidask-lab/answers
    ./install.sh gridengine-master gridengine-exec gridengine-client
}

configure() {
    work=$(mktemp -d)
    cd "$work"
    for host in $HEAD $NODES; do
        qconf -ah $host || true
        qconf -as $host || true # jobs submit themselves again
    done
    range=20000
    for node in $NODES; do
        printf '%s\n' "hostname $node" "load_scaling NONE" "complex_values slots=4" "user_lists NONE" "xuser_lists NONE" \
            "projects NONE" "xprojects NONE" "usage_scaling NONE" "report_variables NONE" > host
        qconf -Ae host || qconf -Me host
        # Nodes that share process numbers would give two jobs the same additional group, and kill each other's processes.
        range=$((range + 100))
        printf 'gid_range %s\n' "$range-$((range + 99))" > $node
        qconf -Aconf $node || qconf -Mconf $node
    done
    printf 'group_name @mpidask\nhostlist %s\n' "$NODES" > group
    qconf -Ahgrp group || qconf -Mhgrp group
    for environment in one:1 two:2 one_node:'$pe_slots' 'spread:$round_robin'; do
        printf '%s\n' "pe_name ${environment%%:*}" "slots 999" "user_lists NONE" "xuser_lists NONE" "start_proc_args NONE" \
            "stop_proc_args NONE" "allocation_rule ${environment#*:}" "control_slaves TRUE" "job_is_first_task TRUE" \
            "urgency_slots min" "accounting_summary FALSE" "qsort_args NONE" > pe
        qconf -Ap pe || qconf -Mp pe
    done
    SGE_SINGLE_LINE=1 qconf -sq | sed -e 's/^qname .*/qname all.q/' -e 's/^hostlist .*/hostlist @mpidask/' \
        -e 's/^slots .*/slots 4/' -e 's/^load_thresholds .*/load_thresholds NONE/' -e 's/^pe_list .*/pe_list one two one_node spread/' \
        -e 's#^shell .*#shell /bin/bash#' -e 's/^shell_start_mode .*/shell_start_mode unix_behavior/' \
        -e 's/^rerun .*/rerun FALSE/' > queue
    qconf -Aq queue || qconf -Mq queue
    # Jobs start within a second, and it tells why they do not.
    qconf -ssconf | sed -e 's/^schedule_interval .*/schedule_interval 0:0:1/' -e 's/^flush_submit_sec .*/flush_submit_sec 1/' \
        -e 's/^flush_finish_sec .*/flush_finish_sec 1/' -e 's/^job_load_adjustments .*/job_load_adjustments NONE/' \
        -e 's/^schedd_job_info .*/schedd_job_info true/' > scheduler
    qconf -Msconf scheduler
    SGE_SINGLE_LINE=1 qconf -sconf | grep -v '^#' | sed -e 's/^load_report_time .*/load_report_time 00:00:05/' \
        -e 's/^max_unheard .*/max_unheard 00:00:20/' -e 's/^execd_params .*/execd_params PDC_INTERVAL=1,ENABLE_ADDGRP_KILL=true/' \
        -e 's/^reporting_params .*/reporting_params accounting=true reporting=false flush_time=00:00:01 accounting_flush_time=00:00:00 joblog=false sharelog=00:00:00/' > global
    qconf -Mconf global
    cd - >/dev/null
    rm -r "$work"
}

down() {
    stop '^/usr/[a-z/]*/sge_execd'
    stop '^(/usr/[a-z/]*/)?sge_qmaster'
}

case ${1:-} in
    up | down) "$1" ;;
    *) echo "usage: $0 up | down" >&2; exit 2 ;;
esac
