#!/usr/bin/env bash
# A Slurm cluster of three nodes on this machine, with four stand-in GPUs each.
#
#   cluster.sh start DIR    starts it with its state under DIR, and waits until its nodes are idle
#   cluster.sh stop DIR     ends its jobs, then the daemons that it started, by their pids
#   cluster.sh node DIR N   starts node N (again)
#
# Whoever speaks to it sets SLURM_CONF=DIR/slurm.conf.
# Daemons run as root, as on a real cluster.
set -euo pipefail

usage() { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[[ $# -ge 2 ]] || usage
readonly verb="$1" place="$2"
export SLURM_CONF="$place/slurm.conf"

configure() {
  local host; host="$(hostname -s)"
  mkdir -p "$place"/{run,log,state} "$place"/spool/n{1,2,3}
  chmod 755 "$place" "$place"/{run,log}
  head -c 128 /dev/urandom >"$place/munge.key"
  chmod 400 "$place/munge.key"
  cat >"$SLURM_CONF" <<CONF
ClusterName=ci
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
SlurmdUser=root
AuthInfo=socket=$place/run/munge.sock,cred_expire=6
StateSaveLocation=$place/state
SlurmdSpoolDir=$place/spool/%n
SlurmctldPidFile=$place/run/slurmctld.pid
SlurmdPidFile=$place/run/slurmd-%n.pid
SlurmctldLogFile=$place/log/slurmctld.log
SlurmdLogFile=$place/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
SlurmdParameters=config_overrides
ReturnToService=2
SlurmdTimeout=10
KillWait=5
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1
NodeName=n[1-3] NodeHostname=$host NodeAddr=127.0.0.1 Port=[17001-17003] CPUs=8 Gres=gpu:4
PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=2
CONF
  # Counts alone are refused, and so are plain files: it has to be character devices.
  echo 'NodeName=n[1-3] Name=gpu File=/dev/tty[0-3]' >"$place/gres.conf"
}

await() { # seconds, what, command…
  local limit=$((SECONDS + $1)) what="$2"
  shift 2
  until "$@"; do
    ((SECONDS < limit)) || { echo "cluster: $what did not come about" >&2; tail -n 5 "$place"/log/* >&2; return 1; }
    sleep 0.2
  done
}
idle_nodes() { [[ "$(sinfo --noheader --Node --states=idle --partition=gpu --format=%N 2>/dev/null | wc -l)" == 3 ]]; }
is_gone() { ! kill -0 "$1" 2>/dev/null; }
is_up() { scontrol ping 2>/dev/null | grep -q 'is UP'; }
has_no_jobs() { [[ -z "$(squeue --noheader)" ]]; }

case "$verb" in
start)
  configure
  munged --key-file="$place/munge.key" --socket="$place/run/munge.sock" --pid-file="$place/run/munged.pid" \
    --log-file="$place/log/munged.log" --seed-file="$place/run/munged.seed"
  slurmctld
  await 30 "an answer of slurmctld" is_up
  for node in n1 n2 n3; do slurmd -N "$node"; done
  await 60 "three idle nodes" idle_nodes
  ;;
node) slurmd -N "${3:?}" ;;
stop)
  # Jobs of tests that were cut off would outlive the daemons.
  if is_up; then
    squeue --noheader --format=%A | sort --unique | xargs --no-run-if-empty scancel
    await 60 "the end of all jobs" has_no_jobs || true # the daemons are ended all the same
  fi
  pids=()
  for file in "$place"/run/slurmd-*.pid "$place"/run/slurmctld.pid "$place"/run/munged.pid; do
    if [[ -f "$file" ]]; then pids+=("$(<"$file")"); fi
  done
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do await 15 "the end of process $pid" is_gone "$pid"; done
  ;;
*) usage ;;
esac
