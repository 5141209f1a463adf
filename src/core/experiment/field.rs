//! How a table of an experiment file is read: its keys, those that it lacks, and those that it should not have.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::axes::Section;
use super::error::{Fault, Found, Span, nearest};
use super::tree::{Node, Table, Value};

/// Reads a value, or reports why it cannot be.
pub(super) trait FromNode: Sized {
    fn from_node(node: &Node, found: &mut Found) -> Option<Self>;
}

/// A table of a file that is being read.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    /// The table; absent where the file has none of that name.
    pub table: Option<&'a Table>,
    /// Its name in messages: `sla`.
    pub name: &'a str,
    /// Where to point at for what is missing.
    pub at: Span,
    /// What holds where the table says nothing.
    pub defaults: Option<&'a Table>,
    /// Something else stands where the table should, and has been reported.
    pub is_broken: bool,
}

impl Scope<'_> {
    fn get(&self, key: &str) -> Option<&Node> {
        self.table.and_then(|table| table.get(key)).or_else(|| self.defaults.and_then(|table| table.get(key)))
    }

    /// Reports the keys that are none of `known`.
    pub fn refuse_unknown(&self, known: &[&str], found: &mut Found) {
        let unknown = self.table.iter().flat_map(|table| table.iter()).filter(|entry| !known.contains(&&*entry.key));
        for entry in unknown {
            found.push(unknown_key(&entry.key, entry.key_at, self.name, known));
        }
    }
}

/// A fault that names the key that was probably meant, and all there are.
pub(super) fn unknown_key(key: &str, at: Span, table: &str, known: &[&str]) -> Fault {
    let place = if table.is_empty() { "at the top level".to_owned() } else { format!("in [{table}]") };
    let label = match nearest(key, known.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => "not a key of this table".to_owned(),
    };
    Fault::new(at, format!("unknown key `{key}` {place}"), label).help(format!("keys are: {}", known.join(", ")))
}

fn missing_key(key: &str, scope: Scope<'_>) -> Fault {
    if scope.name.is_empty() {
        return Fault::new(scope.at, format!("`{key}` is missing"), format!("expected `{key}` in this file"));
    }
    let label = format!("expected `{key}` in [{}], here or in a file that this one extends", scope.name);
    Fault::new(scope.at, format!("`{key}` is missing in [{}]", scope.name), label)
}

/// How a key of a table is read: whether it may be missing.
pub(super) trait Key: Sized {
    fn read(scope: Scope<'_>, key: &str, found: &mut Found) -> Self;
}

/// A value and where it was said.
#[derive(Clone, Debug)]
pub(super) struct Given<T> {
    pub at: Span,
    pub value: T,
}

/// A key that must have a value, be it by default. Empty only where a fault has been reported.
#[derive(Clone, Debug)]
pub(super) struct Need<T>(Option<Given<T>>);

/// A key that may be missing.
#[derive(Clone, Debug)]
pub(super) struct Maybe<T>(Option<Given<T>>);

impl<T> Need<T> {
    pub fn given(&self) -> Option<&Given<T>> {
        self.0.as_ref()
    }

    pub fn take(self) -> Option<T> {
        self.0.map(|given| given.value)
    }
}

impl<T> Maybe<T> {
    pub fn given(&self) -> Option<&Given<T>> {
        self.0.as_ref()
    }

    pub fn take(self) -> Option<T> {
        self.0.map(|given| given.value)
    }
}

impl<T> Default for Need<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Default for Maybe<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: FromNode> Key for Need<T> {
    fn read(scope: Scope<'_>, key: &str, found: &mut Found) -> Self {
        let Some(node) = scope.get(key) else {
            if !scope.is_broken {
                found.push(missing_key(key, scope));
            }
            return Self(None);
        };
        Self(given(scope, key, node, found))
    }
}

impl<T: FromNode> Key for Maybe<T> {
    fn read(scope: Scope<'_>, key: &str, found: &mut Found) -> Self {
        Self(scope.get(key).and_then(|node| given(scope, key, node, found)))
    }
}

/// What a key gives. A list where one value belongs was meant for an axis, where there may be one.
fn given<T: FromNode>(scope: Scope<'_>, key: &str, node: &Node, found: &mut Found) -> Option<Given<T>> {
    let before = found.count();
    let value = T::from_node(node, found);
    let may_be_axis = Section::of_table(scope.name).is_some();
    if value.is_none() && may_be_axis && matches!(node.value, Value::Array(_)) && found.count() > before {
        found.help_last(format!(
            "for several values, make it an axis: under [matrix], \"{}.{key}\" = [...]",
            scope.name
        ));
    }
    value.map(|value| Given { at: node.at, value })
}

/// A table within a table, read elsewhere.
#[derive(Debug)]
pub(super) struct Sub<T>(std::marker::PhantomData<T>);

impl<T> Default for Sub<T> {
    fn default() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<T> Key for Sub<T> {
    fn read(scope: Scope<'_>, key: &str, found: &mut Found) -> Self {
        if let Some(node) = scope.get(key).filter(|node| node.as_table().is_none()) {
            wrong_type::<()>(node, &format!("a table: [{key}]"), found);
        }
        Self::default()
    }
}

/// A field in which a list makes an axis. By the time it is read, one of the list has been chosen.
#[derive(Clone, Debug)]
pub(super) struct Axis<T>(pub T);

impl<T: FromNode> FromNode for Axis<T> {
    fn from_node(node: &Node, found: &mut Found) -> Option<Self> {
        T::from_node(node, found).map(Self)
    }
}

/// Declares the keys of a table: what is read, and what the schema says.
macro_rules! table {
    ($(#[$doc:meta])* $name:ident { $($(#[$key_doc:meta])* $key:ident: $kind:ty,)* }) => {
        #[derive(Debug, schemars::JsonSchema)]
        $(#[$doc])*
        pub(super) struct $name {
            $($(#[$key_doc])* #[schemars(default)] pub $key: $kind,)*
        }

        impl $name {
            /// Its keys, in the order of the documentation.
            pub const KEYS: &[&str] = &[$(stringify!($key)),*];

            pub fn read(scope: $crate::experiment::field::Scope<'_>, found: &mut $crate::experiment::error::Found) -> Self {
                Self { $($key: $crate::experiment::field::Key::read(scope, stringify!($key), found),)* }
            }
        }
    };
}
pub(super) use table;

/// Reports a value that is not of the kind expected.
pub(super) fn wrong_type<T>(node: &Node, expected: &str, found: &mut Found) -> Option<T> {
    if !matches!(node.value, Value::Invalid) {
        let message = format!("{} is not {expected}", node.describe());
        found.push(Fault::new(node.at, message, format!("expected {expected}")));
    }
    None
}

macro_rules! transparent {
    ($wrapper:ident) => {
        impl<T: JsonSchema> JsonSchema for $wrapper<T> {
            fn inline_schema() -> bool {
                T::inline_schema()
            }
            fn schema_name() -> Cow<'static, str> {
                T::schema_name()
            }
            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                T::json_schema(generator)
            }
        }
    };
}
transparent!(Need);
transparent!(Maybe);
transparent!(Sub);

impl<T: JsonSchema> JsonSchema for Axis<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("AxisOf{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one, "minItems": 1, "uniqueItems": true }] })
    }
}
