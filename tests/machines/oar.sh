#!/bin/bash
# A real OAR on the simulated nodes: oar.sh up | down
set -eu
cd "$(dirname "$0")"
. ./lib.sh
NODES="mn1 mn2 mn3 mn4"
STATE=/run/mpidask-lab
ALMIGHTY='^(/usr/bin/perl /usr/lib/oar/)?Almighty' # the pid file that its start script writes holds another id

up() {
    ./nodes.sh up
    ./install.sh postgresql oar-server oar-server-pgsql oar-user oar-user-pgsql oar-node
    database
    if [ -z "$(processes "$ALMIGHTY")" ]; then
        touch /var/log/oar.log
        chown oar /var/log/oar.log
        rm -f /run/oar-server.pid # its start script starts nothing where any process has the id in it
        /etc/init.d/oar-server start > /dev/null
    fi
    for node in $NODES; do # jobs are started over an sshd of OAR's own
        [ -n "$(processes "/usr/sbin/sshd .*oar-sshd.$node.pid")" ] ||
            ./nodes.sh exec $node /usr/sbin/sshd -f /etc/oar/sshd_config -o PidFile=$STATE/oar-sshd.$node.pid
    done
    resources
    for attempt in $(seq 300); do
        [ "$(oarnodes -s 2>/dev/null | grep -c Alive)" = 16 ] && [ -n "$(processes "$ALMIGHTY")" ] && return
        sleep 0.1
    done
    oarnodes -s >&2
    exit 1
}

database() {
    if ! grep -q mpidask-lab /etc/oar/oar.conf; then
        # No control groups; decisions at once: by default a job waits 10 s.
        sed -i -e 's/^DB_BASE_PASSWD=.*/DB_BASE_PASSWD="oar"/' -e 's/^DB_BASE_PASSWD_RO=.*/DB_BASE_PASSWD_RO="oar_ro"/' \
            -e 's/^DB_HOSTNAME=.*/DB_HOSTNAME="10.177.0.254"/' -e "s/^SERVER_HOSTNAME=.*/SERVER_HOSTNAME=\"$(hostname)\"/" -e 's/^JOB_RESOURCE_MANAGER_PROPERTY_DB_FIELD=/#&/' \
            -e 's/^SCHEDULER_JOB_SECURITY_TIME=.*/SCHEDULER_JOB_SECURITY_TIME="1"/' \
            -e 's/^SCHEDULER_GANTT_HOLE_MINIMUM_TIME=.*/SCHEDULER_GANTT_HOLE_MINIMUM_TIME="10"/' /etc/oar/oar.conf
        printf '# mpidask-lab\nSCHEDULER_MIN_TIME_BETWEEN_2_CALLS="0"\n' >> /etc/oar/oar.conf
    fi
    cluster=$(pg_lsclusters -h | head -1 | awk '{print $1, $2}')
    access="/etc/postgresql/${cluster/ //}/pg_hba.conf"
    if ! grep -q mpidask-lab $access; then # nodes submit jobs too
        printf '# mpidask-lab\nhost oar all 10.177.0.0/24 md5\n' >> $access
        pg_conftool $cluster set listen_addresses '*'
        pg_lsclusters -h | grep -q online && pg_ctlcluster $cluster restart
    fi
    if ! pg_lsclusters -h | grep -q online; then
        # A lock of one that was killed counts as held as long as its id is in use, even by what has ended.
        [ -n "$(processes '/postgres |^postgres:')" ] || rm -f /var/run/postgresql/.s.PGSQL.*.lock
        pg_ctlcluster $cluster start
    fi
    [ -z "$(processes "$ALMIGHTY")" ] || return 0
    # A server that was killed with its machine has jobs on record that hold their nodes for ever.
    if oar-database --check 2>/dev/null | grep -qi ready; then oar-database --drop --db-is-local -y > /dev/null; fi
    oar-database --create --db-is-local -y > /dev/null
}

resources() {
    oarproperty -l | grep -qx host || { oarproperty -q -a host -c; oarproperty -q -a cpu; oarproperty -q -a core; }
    if oarnodes -s 2>/dev/null | grep -qx mn1; then
        if oarnodes -s | grep -q Suspected; then # they could not be reached for a while, and OAR looks rarely
            for node in $NODES; do oarnodesetting -s Alive -h $node > /dev/null; done
        fi
        return
    fi
    core=0
    cpu=0
    for node in $NODES; do
        cpu=$((cpu + 1))
        for each in 1 2 3 4; do
            core=$((core + 1))
            oarnodesetting -a -h $node -p host=$node -p cpu=$cpu -p core=$core > /dev/null
        done
    done
}

down() {
    stop "$ALMIGHTY"
    stop '/usr/sbin/sshd .*oar-sshd'
    pg_ctlcluster $(pg_lsclusters -h | head -1 | awk '{print $1, $2}') stop -m fast || true
}

case ${1:-} in
    up | down) "$1" ;;
    *) echo "usage: $0 up | down" >&2; exit 2 ;;
esac
