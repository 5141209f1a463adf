//! Which engine groups go into one array: those that ask for the same.

use anyhow::{Result, bail};
use ceiling_core::experiment::Slurm;
use ceiling_core::plan::Plan;

use crate::executor::gpus_of;

/// The most elements of one array: Slurm's own limit where a site sets none (`MaxArraySize`).
const MOST_ELEMENTS: usize = 1000;

/// An array to be submitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// GPUs of each element.
    pub gpus: u32,
    /// What each element asks for beside them.
    pub settings: Slurm,
    /// Its elements: indices into the plan's groups.
    pub groups: Vec<usize>,
}

/// The arrays for some groups of a plan, in the plan's order.
///
/// # Errors
/// Where an experiment asks for GPUs that a batch system cannot be asked for.
pub fn arrays(plan: &Plan, groups: &[usize]) -> Result<Vec<Array>> {
    let mut arrays: Vec<Array> = Vec::new();
    for &index in groups {
        let group = &plan.groups[index];
        let gpus = match gpus_of(group) {
            Ok(gpus) => gpus,
            Err(reason) => bail!("engine {}: {reason}", group.label),
        };
        let settings = &group.execution.slurm;
        let fits = |array: &&mut Array| {
            array.gpus == gpus && array.settings == *settings && array.groups.len() < MOST_ELEMENTS
        };
        match arrays.iter_mut().find(fits) {
            Some(array) => array.groups.push(index),
            None => arrays.push(Array { gpus, settings: settings.clone(), groups: vec![index] }),
        }
    }
    Ok(arrays)
}
