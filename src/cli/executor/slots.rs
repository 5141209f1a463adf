//! Hands GPUs and CPU slots to engine groups, so that groups run side by side.
//!
//! Groups start in a fixed order, wide ones first, and a group that does not fit holds up those behind it: a wide group
//! cannot starve, and what narrow ones leave idle meanwhile is little, since they come last.

use super::devices::Needs;

/// What is in use.
#[derive(Debug, Default)]
pub struct Slots {
    used_gpus: Vec<String>,
    /// Numbers of the places taken, for ports and caches.
    used_places: Vec<usize>,
    used_cpu: usize,
}

/// What a running group has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The GPUs that its worker may see.
    pub gpus: Vec<String>,
    /// Its number among the groups that run, from 0.
    pub place: usize,
    /// Whether it has a slot on the CPU.
    cpu: bool,
}

impl Slots {
    /// Takes what a group needs, or nothing where that is not free.
    pub fn take(&mut self, needs: &Needs) -> Option<Lease> {
        let (gpus, cpu) = match needs {
            Needs::Nothing => (Vec::new(), false),
            Needs::Cpu { slots } if self.used_cpu < *slots => (Vec::new(), true),
            Needs::Cpu { .. } => return None,
            Needs::Gpus { count, among } => {
                let free = among.iter().filter(|gpu| !self.used_gpus.contains(gpu));
                let taken: Vec<String> = free.take(*count).cloned().collect();
                if taken.len() < *count {
                    return None;
                }
                (taken, false)
            }
        };
        self.used_gpus.extend(gpus.iter().cloned());
        self.used_cpu += usize::from(cpu);
        let place = (0..).find(|place| !self.used_places.contains(place))?;
        self.used_places.push(place);
        Some(Lease { gpus, place, cpu })
    }

    /// Takes back what a group had.
    pub fn give_back(&mut self, lease: &Lease) {
        self.used_gpus.retain(|gpu| !lease.gpus.contains(gpu));
        self.used_places.retain(|place| *place != lease.place);
        self.used_cpu -= usize::from(lease.cpu);
    }
}

/// The order in which groups start: the widest first, and otherwise as the plan has them.
pub fn order(needs: &[(usize, Needs)]) -> Vec<(usize, Needs)> {
    let width = |needs: &Needs| match needs {
        Needs::Gpus { count, .. } => *count,
        Needs::Cpu { .. } | Needs::Nothing => 0,
    };
    let mut ordered = needs.to_vec();
    ordered.sort_by_key(|(_, needs)| std::cmp::Reverse(width(needs)));
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpus(count: usize, among: &[&str]) -> Needs {
        Needs::Gpus { count, among: among.iter().map(|&name| name.to_owned()).collect() }
    }

    #[test]
    fn no_gpu_is_handed_out_twice() {
        let all = ["0", "1", "2", "3"];
        let mut slots = Slots::default();
        let wide = slots.take(&gpus(2, &all)).unwrap();
        let narrow = slots.take(&gpus(1, &all)).unwrap();
        assert_eq!((wide.gpus.as_slice(), narrow.gpus.as_slice()), (&["0".into(), "1".into()][..], &["2".into()][..]));
        assert_eq!(slots.take(&gpus(2, &all)), None);
        slots.give_back(&wide);
        let next = slots.take(&gpus(2, &all)).unwrap();
        assert_eq!((next.gpus, next.place), (vec!["0".into(), "1".into()], 0));
    }

    #[test]
    fn a_group_gets_only_what_it_may_use() {
        let mut slots = Slots::default();
        assert_eq!(slots.take(&gpus(1, &["3"])).unwrap().gpus, ["3"]);
        assert_eq!(slots.take(&gpus(1, &["3"])), None);
        assert_eq!(slots.take(&gpus(1, &["2", "3"])).unwrap().gpus, ["2"]);
    }

    #[test]
    fn the_cpu_has_as_many_slots_as_were_given() {
        let mut slots = Slots::default();
        let first = slots.take(&Needs::Cpu { slots: 2 }).unwrap();
        assert_eq!(slots.take(&Needs::Cpu { slots: 2 }).unwrap().place, 1);
        assert_eq!(slots.take(&Needs::Cpu { slots: 2 }), None);
        slots.give_back(&first);
        assert!(slots.take(&Needs::Cpu { slots: 2 }).is_some());
    }

    #[test]
    fn wide_groups_start_first() {
        let all = ["0", "1", "2", "3"];
        let asked = [(0, gpus(1, &all)), (1, gpus(4, &all)), (2, gpus(1, &all)), (3, gpus(2, &all))];
        let started: Vec<usize> = order(&asked).iter().map(|(group, _)| *group).collect();
        assert_eq!(started, [1, 3, 0, 2]);
    }
}
