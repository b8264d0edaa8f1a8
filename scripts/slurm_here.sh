#!/usr/bin/env bash
# A real SLURM of one node on this machine, for tests and for trying things out: munged, slurmctld and slurmd in
# a folder of their own, on 127.0.0.1 only. Two GPUs are pretended: jobs can ask for them and see their numbers.
#
#   eval "$(scripts/slurm_here.sh start)"    start it (or find it running), and set SLURM_CONF in this shell
#   sinfo; squeue; sbatch ...
#   scripts/slurm_here.sh stop               cancel its jobs, end its programs, remove its folder
#
# A second argument names the folder; without one it is slurm-here-UID in the folder for temporary files. Needs
# the packages slurm-wlm and munge (Debian, Ubuntu: apt install slurm-wlm munge), whose services need not run.
# Works as any user; only that user's jobs run.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"

folder="${2:-${TMPDIR:-/tmp}/slurm-here-$(id -u)}"
mark="$folder/.slurm-here"
export SLURM_CONF="$folder/slurm.conf"

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "slurm_here: $*"
    exit 1
}

environment() { printf 'export SLURM_CONF=%q\n' "$SLURM_CONF"; }

# A port that nothing listens on; $1: another one that is taken already.
free_port() {
    local port
    for _ in $(seq 100); do
        port=$((20000 + RANDOM % 10000))
        [ "$port" = "${1:-}" ] && continue
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
    fail "no free port found"
}

# Whether the program of a pid file lives.
lives() { [ -s "$folder/$1.pid" ] && kill -0 "$(cat "$folder/$1.pid")" 2>/dev/null; }

# Wait up to $1 s for a command to succeed.
await() {
    local tries=$(($1 * 5))
    shift
    for _ in $(seq "$tries"); do
        "$@" >/dev/null 2>&1 && return
        sleep 0.2
    done
    return 1
}

is_idle() { [ "$(timeout 5 sinfo -h -o %t)" = idle ]; }
is_empty() { [ -z "$(timeout 5 squeue -h)" ]; }
is_gone() { ! lives "$1"; }

configure() {
    local user host port
    user="$(id -un)" host="$(hostname -s)" port="$(free_port)"
    cat >"$SLURM_CONF" <<END
ClusterName=here
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmdPort=$(free_port "$port")
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
GresTypes=gpu
ReturnToService=2
KillWait=5
MessageTimeout=10
NodeName=here NodeHostname=$host NodeAddr=127.0.0.1 CPUs=4 RealMemory=65536 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=here Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes=here MaxTime=60 State=UP
END
    # A GPU must have a device file; SLURM only looks whether it is one.
    printf 'NodeName=here Name=gpu File=/dev/%s\n' null zero >"$folder/gres.conf"
}

start() {
    local program
    for program in munged slurmctld slurmd sbatch; do
        command -v "$program" >/dev/null || fail "no '$program' here; apt install slurm-wlm munge"
    done
    if [ -e "$mark" ]; then
        if lives munged && lives slurmctld && lives slurmd && is_idle; then
            environment
            return
        fi
        stop
    fi
    [ ! -e "$folder" ] || [ -z "$(ls -A "$folder")" ] || fail "$folder is not empty, and not of this script"
    mkdir -p "$folder"
    # Programs with the rights of others reach the socket; munged refuses folders that others can write to.
    chmod 755 "$folder"
    mkdir "$folder/state" "$folder/spool"
    : >"$mark"
    trap 'say "slurm_here: see $folder/*.log"' ERR
    (umask 077 && head -c 1024 /dev/urandom >"$folder/munge.key")
    munged --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
        --log-file="$folder/munged.log" --seed-file="$folder/munge.seed" --num-threads=1 >&2
    configure
    slurmctld -c -f "$SLURM_CONF" >&2
    slurmd -c -N here -f "$SLURM_CONF" >&2
    await 30 is_idle || fail "the node is not ready after 30 s: $(sinfo -h -N -o '%t %E' 2>&1); see $folder/*.log"
    environment
}

stop() {
    local name
    [ -e "$mark" ] || { say "slurm_here: nothing runs in $folder"; return; }
    if lives slurmctld; then
        timeout 10 scancel --user="$(id -un)" 2>/dev/null || true
        await 20 is_empty || say "slurm_here: jobs did not end in time"
    fi
    for name in slurmd slurmctld munged; do
        lives "$name" || continue
        kill "$(cat "$folder/$name.pid")"
        await 10 is_gone "$name" || kill -9 "$(cat "$folder/$name.pid")" 2>/dev/null || true
    done
    rm -rf "$folder"
}

case "${1:-}" in
start) start ;;
stop) stop ;;
env) environment ;;
*) fail "start, stop or env [FOLDER]; the head of this file says more" ;;
esac
