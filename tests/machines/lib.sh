# Sourced by the scripts beside it.

# Print the ids of the processes of this system whose command line matches. Not pgrep, because it takes in those that have
# ended, which nobody may reap here, and those of containers on this machine.
processes() { # EXPRESSION
    local directory words
    for directory in /proc/[0-9]*; do # no command for each: there may be many
        { mapfile -d '' -t words < $directory/cmdline; } 2>/dev/null || continue
        if [[ "${words[*]} " =~ $1 ]] && grep -qs '^State:.[^Z]' $directory/status &&
            [ "$(readlink $directory/ns/pid)" = "$(readlink /proc/self/ns/pid)" ] && [ ${directory#/proc/} != $$ ]; then
            echo ${directory#/proc/}
        fi
    done
}

# End these processes and wait until they are gone.
stop() { # EXPRESSION
    for process in $(processes "$1"); do kill $process 2>/dev/null || true; done
    for attempt in $(seq 100); do
        [ -z "$(processes "$1")" ] && return
        sleep 0.1
    done
    for process in $(processes "$1"); do kill -9 $process 2>/dev/null || true; done
}
