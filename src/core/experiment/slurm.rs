//! What an experiment asks of Slurm: `[execution.slurm]`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::error::{Fault, Found};
use super::field::{FromNode, Maybe, Need, table, wrong_type};
use super::kind::{Count, PositiveLength, Text};
use super::tree::{Node, Value};
use crate::units::Seconds;

/// What each engine group asks of Slurm, beside the GPUs that its parallel sizes need. Every text is one line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Slurm {
    /// The partition; the cluster's default where none is given.
    pub partition: Option<String>,
    /// The account to charge.
    pub account: Option<String>,
    /// The quality of service.
    pub qos: Option<String>,
    /// Time limit of one engine group.
    pub time: Option<Seconds>,
    /// Features that a node must have.
    pub constraint: Option<String>,
    /// How the site calls its GPUs: `gpu`, or with a type `gpu:h100`.
    pub gres: String,
    /// The most engine groups at a time.
    pub max_parallel: Option<u32>,
    /// Lines of the batch script that come before the engine.
    pub setup: Vec<String>,
    /// Further options of `sbatch`.
    pub extra: Vec<String>,
}

table! {
    /// What to ask of Slurm for each engine group. The GPUs that its parallel sizes need are asked for anyway.
    #[schemars(deny_unknown_fields)]
    SlurmTable {
        /// The partition; the cluster's default where none is given.
        partition: Maybe<Line>,
        /// The account to charge.
        account: Maybe<Line>,
        /// The quality of service.
        qos: Maybe<Line>,
        /// Time limit of one engine group. Shortly before it ends the group saves and queues again.
        time: Maybe<PositiveLength>,
        /// Features that a node must have.
        constraint: Maybe<Line>,
        /// How the site calls its GPUs: "gpu", or with a type "gpu:h100".
        gres: Need<Line>,
        /// The most engine groups at a time.
        max_parallel: Maybe<Count>,
        /// Lines of the batch script that come before the engine, such as "module load cuda".
        setup: Need<Lines>,
        /// Further options of sbatch, such as "--cpus-per-task=8".
        extra: Need<Lines>,
    }
}

impl SlurmTable {
    /// The settings; `None` where a fault was reported.
    pub fn settings(self) -> Option<Slurm> {
        let line = |line: Maybe<Line>| line.take().map(|line| line.0);
        Some(Slurm {
            partition: line(self.partition),
            account: line(self.account),
            qos: line(self.qos),
            time: self.time.take().map(|time| time.0),
            constraint: line(self.constraint),
            gres: self.gres.take()?.0,
            max_parallel: self.max_parallel.take().map(|most| most.0),
            setup: self.setup.take()?.0,
            extra: self.extra.take()?.0,
        })
    }
}

/// A line of text: nothing in it can begin another line of a script.
#[derive(Clone, Debug)]
pub(super) struct Line(pub String);

impl FromNode for Line {
    fn from_node(node: &Node, found: &mut Found) -> Option<Self> {
        let Text(text) = Text::from_node(node, found)?;
        if text.contains(char::is_control) {
            found.push(Fault::new(node.at, "this is not one line", "expected text without line breaks"));
            return None;
        }
        Some(Self(text))
    }
}

impl JsonSchema for Line {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Line".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "minLength": 1, "pattern": "^[^\\n]*$" })
    }
}

/// Lines of text.
#[derive(Clone, Debug)]
pub(super) struct Lines(pub Vec<String>);

impl FromNode for Lines {
    fn from_node(node: &Node, found: &mut Found) -> Option<Self> {
        let Value::Array(nodes) = &node.value else { return wrong_type(node, "a list of lines", found) };
        let lines: Vec<_> = nodes.iter().map(|node| Line::from_node(node, found)).collect();
        lines.into_iter().map(|line| line.map(|line| line.0)).collect::<Option<_>>().map(Self)
    }
}

impl JsonSchema for Lines {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Lines".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let line = generator.subschema_for::<Line>();
        json_schema!({ "type": "array", "items": line })
    }
}
