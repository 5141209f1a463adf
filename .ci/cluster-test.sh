#!/usr/bin/env bash
# Runs the tests of Slurm on a cluster of three nodes that it starts on this machine and ends, also when they fail.
# The arguments are those of cargo.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly PACKAGES=(slurmctld slurmd slurm-client munge)

as_root() { if [[ $EUID == 0 ]]; then "$@"; else sudo -- "$@"; fi; }
fail() { echo "cluster-test: $1" >&2; exit 1; }

install_slurm() {
  local command missing=no
  # Daemons lie where only root looks for commands.
  for command in slurmctld slurmd munged sbatch; do PATH="$PATH:/usr/sbin" command -v "$command" >/dev/null || missing=yes; done
  if [[ $missing == no ]]; then return; fi
  [[ $EUID == 0 ]] || sudo -n true 2>/dev/null || fail "Slurm is not installed: as root, apt-get install ${PACKAGES[*]}"
  command -v apt-get >/dev/null || fail "Slurm is not installed, and there is no apt-get to do it: install slurmctld, slurmd, the client commands and munge"
  echo "cluster-test: Slurm from the distribution's packages"
  # Only their commands are wanted, not their services.
  local install=(env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install --yes --quiet=2 --no-install-recommends "${PACKAGES[@]}")
  as_root "${install[@]}" >/dev/null || { as_root apt-get update --quiet=2 && as_root "${install[@]}" >/dev/null; } ||
    fail "Slurm's packages cannot be installed: ${PACKAGES[*]}"
}

install_slurm
place="$(mktemp -d /tmp/ceiling-cluster.XXXXXX)"
chmod 755 "$place"
stop() {
  local code=$?
  as_root .ci/cluster.sh stop "$place" || echo "cluster-test: not every daemon ended; they are named under $place/run" >&2
  if [[ $code == 0 ]]; then as_root rm -rf "$place"; else echo "cluster-test: the daemons' logs lie in $place/log" >&2; fi
  exit "$code"
}
trap stop EXIT
as_root .ci/cluster.sh start "$place" || fail "the daemons of Slurm do not run on this machine: their logs are under $place/log"
export SLURM_CONF="$place/slurm.conf"
# The tests wait most of the time: all at once.
cargo test "$@" --package ceiling --test cluster -- --ignored --test-threads=16
