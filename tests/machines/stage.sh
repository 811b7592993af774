#!/bin/bash
# Copy a virtual environment to where an ordinary user and the nodes can run it: stage.sh VENV TARGET
# The original belongs to root, and its interpreter may lie where others cannot enter.
set -eu
source=$(realpath "$1")
target=$2
cd "$(dirname "$0")"
version=$("$source/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
python=$(realpath "$source/bin/python")
if ! runuser -u nobody -- test -x "$python"; then
    python=/usr/bin/python$version
    [ -x $python ] || ./install.sh python3 python3-venv
fi
[ -x $python ] || { echo "no Python $version that everybody can run" >&2; exit 1; }
packages=lib/python$version/site-packages
stamp=$(cat "$source/stamp" 2>/dev/null || true)-$python
if [ "$(cat $target/staged 2>/dev/null)" != "$stamp" ]; then
    rm -rf $target
    mkdir -p $target
    cp -al "$source/." $target/ 2>/dev/null || { rm -rf $target; mkdir -p $target; cp -a "$source/." $target/; }
    rm -f $target/bin/python* $target/pyvenv.cfg
    ln -s $python $target/bin/python
    ln -s python $target/bin/python3
    printf 'home = /usr/bin\ninclude-system-site-packages = false\nversion = %s\n' $version > $target/pyvenv.cfg
    [ "${python#/usr/bin/}" != "$python" ] || sed -i "s#^home = .*#home = $(dirname $python)#" $target/pyvenv.cfg
    for script in $target/bin/*; do # links are shared with the original: write anew
        if [ -f $script ] && [ ! -L $script ] && head -c 200 $script | head -1 | grep -qa "^#!.*$source/bin/python"; then
            sed "1s#.*#\#!$target/bin/python#" $script > $script.new
            chmod 755 $script.new
            mv $script.new $script
        fi
    done
    chmod -R a+rX $target
    echo "$stamp" > $target/staged
fi
# What is tested is copied anew when it has changed: it may be in use.
diff -rq --exclude=__pycache__ "$source/$packages/mpidask" $target/$packages/mpidask >/dev/null 2>&1 && exit
rm -rf $target/$packages/mpidask
cp -a "$source/$packages/mpidask" $target/$packages/
$target/bin/python -m compileall -q $target/$packages/mpidask
chmod -R a+rX $target/$packages/mpidask
