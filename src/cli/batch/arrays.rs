//! Which engine groups go into one array: those that ask for the same.

use anyhow::{Result, bail};
use ceiling_core::plan::Plan;

use super::system::BatchSystem;
use crate::executor::gpus_of;

/// An array to be submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Array {
    /// GPUs of each element.
    pub gpus: u32,
    /// Its elements: indices into the plan's groups, which ask the batch system for the same.
    pub groups: Vec<usize>,
}

/// The arrays for some groups of a plan, in the plan's order.
///
/// # Errors
/// Where an experiment asks for GPUs that a batch system cannot be asked for.
pub fn arrays(plan: &Plan, groups: &[usize], system: &dyn BatchSystem) -> Result<Vec<Array>> {
    let mut arrays: Vec<Array> = Vec::new();
    for &index in groups {
        let group = &plan.groups[index];
        let gpus = match gpus_of(group) {
            Ok(gpus) => gpus,
            Err(reason) => bail!("engine {}: {reason}", group.label),
        };
        let fits = |array: &&mut Array| {
            let asked = &plan.groups[array.groups[0]].execution;
            array.gpus == gpus
                && array.groups.len() < system.most_elements()
                && system.asks_the_same(asked, &group.execution)
        };
        match arrays.iter_mut().find(fits) {
            Some(array) => array.groups.push(index),
            None => arrays.push(Array { gpus, groups: vec![index] }),
        }
    }
    Ok(arrays)
}
