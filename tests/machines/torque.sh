#!/bin/bash
# The commands of Torque, as Debian has them for Slurm: torque.sh up | down; prints the directory of qsub, qstat, qdel
# They are unpacked, not installed: Grid Engine has commands of the same names.
set -eu
cd "$(dirname "$0")"
PLACE=/opt/mpidask-tests/torque

up() {
    ./slurm.sh up >&2
    ./install.sh libslurm-perl libslurmdb-perl libswitch-perl >&2
    if [ ! -x $PLACE/usr/bin/qsub ]; then
        work=$(mktemp -d)
        (cd "$work" && apt-get download -qq slurm-wlm-torque >&2)
        dpkg -x "$work"/slurm-wlm-torque_*.deb $PLACE
        rm -r "$work"
        for command in sbatch salloc srun squeue scancel scontrol sinfo; do
            ln -sf /usr/bin/$command $PLACE/usr/bin/$command # looked for beside qsub
        done
    fi
    echo $PLACE/usr/bin
}

case ${1:-} in
    up) up ;;
    down) ./slurm.sh down ;;
    *) echo "usage: $0 up | down" >&2; exit 2 ;;
esac
