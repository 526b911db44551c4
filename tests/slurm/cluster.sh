#!/usr/bin/env bash
# Runs a study as job arrays on a Slurm cluster of this one machine: a running task is killed, a task
# comes to its time limit, the jobs are cancelled, the node goes down. The tables must be those of a
# local run each time, byte for byte. Prints the cost of arrays beside local workers.
#
#     tests/slurm/cluster.sh [STUDY]     (default mini-quick)
#
# RUNNER names the program (default target/release/runner), MINUTES the length of a task (0.25),
# ROUNDS how often time is taken (1). Installs Debian's slurm-wlm and munge if they are missing.
# Daemons run as root in a temporary folder, listen on the loopback interface only, and end with this
# script.
set -euo pipefail

study=${1:-mini-quick}
root=$(cd "$(dirname "$0")/../.." && pwd)
runner=$(realpath "${RUNNER:-$root/target/release/runner}")
minutes=${MINUTES:-0.25}
rounds=${ROUNDS:-1}

fail() { echo "tests/slurm: $*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || fail "must run as root: slurmd starts jobs of other users"
[ -x "$runner" ] || fail "there is no $runner: \`make build\` builds it"
if ! command -v slurmctld munged >/dev/null; then
  command -v apt-get >/dev/null || fail "slurmctld and munged are missing, and there is no apt-get to install them with"
  echo "installing slurm-wlm and munge"
  # This script starts daemons of its own.
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null
fi

place=$(mktemp -d /tmp/gauntlet-slurm.XXXXXX)
chmod 755 "$place"
daemons=()
finish() {
  code=$?
  trap - EXIT
  scancel --quiet --user=root 2>/dev/null || true
  for daemon in "${daemons[@]}"; do kill "$daemon" 2>/dev/null || true; done
  for daemon in "${daemons[@]}"; do
    for _ in $(seq 50); do kill -0 "$daemon" 2>/dev/null || break; sleep 0.1; done
    kill -KILL "$daemon" 2>/dev/null || true
  done
  if [ "$code" = 0 ]; then rm -rf "$place"; else echo "tests/slurm: failed; logs and results stay in $place" >&2; fi
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# A free port for each of the two daemons.
ports=($(python3 -c 'import socket
free = [socket.socket() for _ in range(2)]
for one in free: one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in free))'))
cores=$(nproc)
export SLURM_CONF=$place/slurm.conf
mkdir -p "$place"/{munge,state,spool}
chmod 700 "$place/munge"
(umask 077 && head -c 128 /dev/urandom >"$place/munge/key")
chmod 711 "$place/munge"
cat >"$SLURM_CONF" <<CONF
ClusterName=gauntlet
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=${ports[0]}
SlurmdPort=${ports[1]}
# Daemons listen on their own address only, not on all addresses of the machine.
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny,DisableIPv6
AuthType=auth/munge
CredType=cred/munge
# Slurm starts a requeued task again only after its credential has expired.
AuthInfo=socket=$place/munge/socket,cred_expire=5
SlurmUser=root
SlurmdUser=root
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
StateSaveLocation=$place/state
SlurmdSpoolDir=$place/spool
SlurmctldPidFile=$place/slurmctld.pid
SlurmdPidFile=$place/slurmd.pid
SlurmctldLogFile=$place/slurmctld.log
SlurmdLogFile=$place/slurmd.log
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=5,sched_interval=2,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$cores State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF

munged --foreground --force --key-file="$place/munge/key" --socket="$place/munge/socket" --pid-file="$place/munge/pid" \
  --log-file="$place/munge/log" --seed-file="$place/munge/seed" >"$place/munge.out" 2>&1 &
daemons+=($!)
for _ in $(seq 100); do [ -S "$place/munge/socket" ] && break; sleep 0.1; done
[ -S "$place/munge/socket" ] || fail "munged does not start: $(cat "$place/munge.out")"
slurmctld -D >"$place/slurmctld.out" 2>&1 &
daemons=($! "${daemons[@]}")
slurmd -D >"$place/slurmd.out" 2>&1 &
daemons=($! "${daemons[@]}")
for _ in $(seq 100); do [ "$(sinfo --noheader --format=%T 2>/dev/null)" = idle ] && break; sleep 0.2; done
[ "$(sinfo --noheader --format=%T)" = idle ] || fail "the cluster does not come up: $(tail -3 "$place"/slurm*.out)"
echo "$(sbatch --version) with $cores cores"

cd "$place"
local=$place/local out="$place/on a cluster"
TIMEFORMAT='%R %U %S'
echo "$study with $cores local workers"
"$runner" run "$study" --out "$local" --workers "$cores" >run.log 2>&1 || fail "the local run failed: $(tail -3 run.log)"

submit() {
  # Each task's script prints its processor time at its end.
  "$runner" submit "$study" --out "$out" --task-minutes "$minutes" --patience 5 --requeue 2 \
    "--sbatch-arg=--comment=two words" "--setup=trap times EXIT" "$@"
}
submit --print >print.log
[ ! -e "$out" ] || fail "--print has written something"
submit

queue() { squeue --noheader --array "$@"; }
# The number of the job array of attacks, of the last submission.
attacks() { sed -n 's/.*"job": "\([0-9]*\)".*/\1/p' "$(ls -d "$out"/slurm/*/submission.json | tail -1)" | sed -n 2p; }
# Waits until a task attacks: `worker` is its process, `task` its name, as in attacks/0.
attacking() {
  worker=
  for _ in $(seq 6000); do
    # A worker of the array has the list of its cells among its arguments.
    worker=$(pgrep -f "$runner work --job $out/.*/cells/attacks/[0-9]*\.txt" | head -1) && [ -n "$worker" ] &&
      [ -n "$(ls -A "$out/cells/craft" 2>/dev/null)" ] && break
    sleep 0.1
  done
  [ -n "$worker" ] || fail "no task came to the attacks: $(queue)"
  task=$(tr '\0' ' ' <"/proc/$worker/cmdline" | sed 's/.*\(attacks\/[0-9]*\)\.txt.*/\1/')
}
# Waits until no job is left.
ended() {
  for _ in $(seq 7200); do [ -z "$(queue)" ] && return; sleep 0.5; done
  fail "the jobs do not end: $(queue)"
}
# Waits until a file has a line.
says() {
  for _ in $(seq 3000); do grep -q "$2" "$1" 2>/dev/null && return; sleep 0.1; done
  fail "$1 does not say \`$2\`: $(cat "$1"); $(queue)"
}
# Compares the tables with those of the local run.
same() {
  for table in flags.csv accuracy.csv success.csv transfer.csv scores.csv matrices.csv skipped.csv tables.tex study.json study.toml provenance.json \
    outcomes.parquet examples.safetensors; do
    cmp "$local/$table" "$out/$table" || fail "$table differs from that of the local run"
  done
  echo "all tables are those of the local run, byte for byte"
}

echo
echo "killing a task while it attacks"
attacking
kill -KILL "$worker"
echo "killed a worker of $task"
"$runner" status "$out"
ended
log=$out/slurm/1/logs/$(dirname "$task")-$(basename "$task").log
grep -q "ended with exit code 137, requeued" "$log" || fail "the killed task was not requeued: $(cat "$log")"
grep -q "cells computed, " "$log" || fail "the killed task did not come to its end: $(cat "$log")"
status=$("$runner" status "$out")
echo "$status"
submit | grep "^0 of " || fail "something is missing: $status"
ended
same

echo
echo "a task comes to its time limit while it attacks"
out=$place/limit
submit >submit.log
attacking
log=$out/slurm/1/logs/$(dirname "$task")-$(basename "$task").log
# Slurm warns a task 90 seconds before its limit.
scontrol update "jobid=$(attacks)" timelimit=1
says "$log" "ended with exit code 143, requeued"
scontrol update "jobid=$(attacks)" timelimit=60
ended
submit | grep "^0 of " || fail "something is missing: $("$runner" status "$out")"
ended
same

echo
echo "cancelling the jobs while a task attacks"
out=$place/cancelled
submit >submit.log
attacking
"$runner" cancel "$out"
for _ in $(seq 600); do [ -z "$(queue)" ] && ! kill -0 "$worker" 2>/dev/null && break; sleep 0.1; done
[ -z "$(queue)" ] || fail "jobs are left: $(queue)"
kill -0 "$worker" 2>/dev/null && fail "a cancelled worker goes on: $(ps -p "$worker")"
[ "$("$runner" cancel "$out")" = "Nothing waits or runs" ] || fail "there is something to cancel: $(queue)"
submit >submit.log
grep -q "^0 of " submit.log && fail "nothing is left to submit: $(cat submit.log)"
ended
same

echo
echo "the node goes down while a task attacks"
out=$place/down
submit >submit.log
attacking
node=$(hostname -s)
scontrol update "nodename=$node" state=down reason=test
for _ in $(seq 300); do [ -z "$(queue --states=running)" ] && break; sleep 0.1; done
[ -z "$(queue --states=running)" ] || fail "tasks run on a node that is down: $(queue)"
[ -n "$(queue)" ] || fail "Slurm has not requeued the tasks of the node"
scontrol update "nodename=$node" state=resume
ended
submit | grep "^0 of " || fail "something is missing: $("$runner" status "$out")"
ended
same

echo
echo "efficiency: local workers and job arrays in turn, nothing killed"
for round in $(seq "$rounds"); do
  { time "$runner" run "$study" --out "$place/local-$round" --workers "$cores" >run.log 2>&1; } 2>"local-$round.time"
  out=$place/arrays-$round
  begun=$(date +%s%N)
  submit >submit.log
  submitted=$((($(date +%s%N) - begun) / 1000000))
  while [ -n "$(queue)" ]; do sleep 0.2; done
  wall=$((($(date +%s%N) - begun) / 1000000))
  # The last line of `times` has the children's user and system time, in minutes and seconds.
  cpu=$(for log in "$out"/slurm/1/logs/*.log; do tail -1 "$log"; done |
    sed 's/[ms]/ /g' | awk '{ sum += 60 * $1 + $2 + 60 * $3 + $4 } END { print sum }')
  echo "$wall $submitted $cpu $(ls "$out/slurm/1/logs" | wc -l)" >"arrays-$round.time"
  cmp "$place/local-$round/outcomes.parquet" "$out/outcomes.parquet" || fail "outcomes.parquet differs from that of the local run"
done
grep -A 5 "  tasks  " submit.log
python3 - "$rounds" <<'PYTHON'
import sys
for number in range(1, int(sys.argv[1]) + 1):
    wall, user, system = map(float, open(f"local-{number}.time").read().split())
    whole, submit, arrays_cpu, tasks = map(float, open(f"arrays-{number}.time").read().split())
    cpu, submit, arrays = user + system, submit / 1000, (whole - submit) / 1000
    print(f"local workers {wall:.1f} s, {cpu:.1f} CPU seconds; `runner submit` {submit:.1f} s, {tasks:.0f} tasks {arrays:.1f} s until "
          f"the last has ended, {arrays_cpu:.1f} CPU seconds: efficiency {wall / arrays:.0%} (wall), {cpu / arrays_cpu:.0%} (CPU)")
PYTHON
