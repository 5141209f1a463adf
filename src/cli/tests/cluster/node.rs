//! What befalls a whole node: these tests have one for themselves.

use std::time::Duration;

use crate::place::{LONG, Place, parent};
use crate::slurm::{daemon, said, start};
use crate::support::{is_alive, send, wait_until};
use nix::sys::signal::Signal;

const THERE: &str = "slurm.extra = [\"--nodelist=n3\"]";

#[test]
#[ignore = "needs a Slurm cluster: make cluster-test"]
fn preemption_and_the_death_of_a_node_cost_nothing() {
    make_room();
    lose_a_node();
}

/// Somebody with a better claim takes all GPUs of the node for a while.
fn make_room() {
    let place = Place::new("slow 0.7", THERE);
    let watched = place.start(&[]);
    place.wait_for_probes(3);
    let urgent = ["--partition=urgent", "--nodelist=n3", "--gres=gpu:4", "--output=/dev/null", "--wrap=sleep 1"];
    said("sbatch", &urgent);
    watched.ends_with(0);
    assert_eq!(place.starts().len(), 2, "it had to make room once");
    place.assert_nothing_is_left();
    place.assert_like_a_local_run();
}

/// The node's daemon dies, and its processes with it.
fn lose_a_node() {
    let place = Place::new("slow 0.7", THERE);
    let watched = place.start(&[]);
    place.wait_for_probes(3);
    let worker = place.starts()[0]["pid"].as_u64().unwrap();
    let element = parent(worker);
    let step = parent(element);
    for pid in [daemon("n3"), step, element, worker, place.starts()[0]["child"].as_u64().unwrap()] {
        send(Signal::SIGKILL, pid);
    }
    wait_until("the element is gone", Duration::from_secs(10), || !is_alive(element));
    let is_down = || said("sinfo", &["--noheader", "--nodes=n3", "--format=%t"]).starts_with("down");
    wait_until("Slurm sees it", LONG, is_down);
    start("n3");
    watched.ends_with(0);
    assert_eq!(place.starts().len(), 2);
    place.assert_nothing_is_left();
    place.assert_like_a_local_run();
}
