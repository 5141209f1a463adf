//! A TOML text as a tree in which every key and value knows its place.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Fault, Found, Span};

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub at: Span,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    String(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime(String),
    Array(Vec<Node>),
    Table(Table),
    /// Something wrong that has been reported.
    Invalid,
}

/// Entries in the order of the text. Tables of experiments are short: a key is found by looking through them.
#[derive(Clone, Debug, Default)]
pub(super) struct Table(Vec<Entry>);

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: String,
    pub key_at: Span,
    pub node: Node,
}

impl Table {
    pub fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.0.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.key == key)
    }

    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    pub fn remove(&mut self, key: &str) -> Option<Entry> {
        let index = self.0.iter().position(|entry| entry.key == key)?;
        Some(self.0.remove(index))
    }

    /// The table of that name.
    pub fn table_mut(&mut self, key: &str) -> Option<&mut Self> {
        match self.0.iter_mut().find(|entry| entry.key == key) {
            Some(Entry { node: Node { value: Value::Table(table), .. }, .. }) => Some(table),
            _ => None,
        }
    }

    pub fn push(&mut self, entry: Entry) {
        self.0.push(entry);
    }

    /// The value at a dotted path, if there is one.
    pub fn at_path(&self, path: &[String]) -> Option<&Node> {
        let (first, rest) = path.split_first()?;
        let node = self.get(first)?;
        if rest.is_empty() { Some(node) } else { node.as_table()?.at_path(rest) }
    }

    /// Puts a value at a path: tables merge, anything else is replaced.
    pub fn put(&mut self, path: &[String], key_at: Span, node: &Node) {
        self.put_at(path, &[], key_at, node);
    }

    /// The same for a path of which each part has its own place: the outer ones, and the last.
    pub fn put_at(&mut self, path: &[String], outer_at: &[Span], key_at: Span, node: &Node) {
        let Some((first, rest)) = path.split_first() else { return };
        let (first_at, outer_at) = outer_at.split_first().map_or((key_at, outer_at), |(first, rest)| (*first, rest));
        if rest.is_empty() {
            self.merge_entry(first, key_at, node, first == WHOLE);
            return;
        }
        let index = self.0.iter().position(|entry| entry.key == *first).unwrap_or_else(|| {
            let node = Node { at: node.at, value: Value::Table(Self::default()) };
            self.0.push(Entry { key: first.clone(), key_at: first_at, node });
            self.0.len() - 1
        });
        let inner = &mut self.0[index].node;
        if !matches!(inner.value, Value::Table(_)) {
            *inner = Node { at: node.at, value: Value::Table(Self::default()) };
        }
        if let Value::Table(table) = &mut inner.value {
            table.put_at(rest, outer_at, key_at, node);
        }
    }

    /// Lays another table over this one.
    pub fn merge(&mut self, over: &Self) {
        for entry in &over.0 {
            self.merge_entry(&entry.key, entry.key_at, &entry.node, entry.key == WHOLE);
        }
    }

    fn merge_entry(&mut self, key: &str, key_at: Span, node: &Node, whole: bool) {
        match self.0.iter_mut().find(|entry| entry.key == key) {
            Some(Entry { node: Node { value: Value::Table(mine), .. }, .. })
                if !whole && matches!(node.value, Value::Table(_)) =>
            {
                if let Value::Table(theirs) = &node.value {
                    mine.merge(theirs);
                }
            }
            Some(entry) => *entry = Entry { key: key.to_owned(), key_at, node: node.clone() },
            None => self.0.push(Entry { key: key.to_owned(), key_at, node: node.clone() }),
        }
    }
}

/// A field whose tables stand for alternatives: `{ corpus = … }` replaces `{ characters = … }` and is not merged with it.
pub(super) const WHOLE: &str = "prompt";

impl Node {
    pub fn as_table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// What it is, for messages: "the number 5".
    pub fn describe(&self) -> String {
        match &self.value {
            Value::String(text) => format!("the text \"{}\"", shorten(text)),
            Value::Integer(value) => format!("the number {value}"),
            Value::Float(value) => format!("the number {value}"),
            Value::Boolean(value) => format!("`{value}`"),
            Value::Datetime(text) => format!("the date {text}"),
            Value::Array(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
            Value::Invalid => "something illegible".to_owned(),
        }
    }

    /// As JSON; dates and numbers that JSON lacks are reported.
    pub fn to_json(&self, found: &mut Found) -> Option<serde_json::Value> {
        use serde_json::Value as Json;
        Some(match &self.value {
            Value::String(text) => Json::from(text.as_str()),
            Value::Integer(value) => Json::from(*value),
            Value::Boolean(value) => Json::from(*value),
            Value::Float(value) => match serde_json::Number::from_f64(*value) {
                Some(number) => Json::Number(number),
                None => {
                    found.push(Fault::new(self.at, format!("{value} is not a number"), "expected a finite number"));
                    return None;
                }
            },
            Value::Datetime(text) => {
                let message = format!("a date cannot be handed to the engine: {text}");
                found.push(Fault::new(self.at, message, "expected text, a number, true or false, a list or a table"));
                return None;
            }
            Value::Array(nodes) => {
                let values: Vec<_> = nodes.iter().map(|node| node.to_json(found)).collect();
                Json::Array(values.into_iter().collect::<Option<_>>()?)
            }
            Value::Table(table) => {
                let entries: Vec<_> =
                    table.iter().map(|entry| Some((entry.key.clone(), entry.node.to_json(found)?))).collect();
                Json::Object(entries.into_iter().collect::<Option<_>>()?)
            }
            Value::Invalid => return None,
        })
    }

    /// A text that is equal where two values say the same, wherever they stand; 1 and 1.0 do.
    pub fn canonical(&self) -> String {
        match &self.value {
            Value::String(text) => format!("{text:?}"),
            Value::Integer(value) => value.to_string(),
            Value::Float(value) => value.to_string(),
            Value::Boolean(value) => value.to_string(),
            Value::Datetime(text) => text.clone(),
            Value::Array(nodes) => {
                let items: Vec<_> = nodes.iter().map(Self::canonical).collect();
                format!("[{}]", items.join(","))
            }
            Value::Table(table) => {
                let mut items: Vec<_> =
                    table.iter().map(|entry| format!("{:?}={}", entry.key, entry.node.canonical())).collect();
                items.sort_unstable();
                format!("{{{}}}", items.join(","))
            }
            Value::Invalid => "?".to_owned(),
        }
    }
}

fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(40).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(40).is_some() {
        short.push('…');
    }
    short
}

/// Reads the text of a source, going on after errors.
pub(super) fn parse(source: u32, text: &str, found: &mut Found) -> Table {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let range = error.span().unwrap_or(0..0);
        let fault = Fault::new(span(source, text, range), format!("not TOML: {}", error.message()), "here");
        found.push(fault);
    }
    Converter { source, text, found }.table(table.get_ref())
}

/// A span within the text, on character boundaries.
fn span(source: u32, text: &str, range: Range<usize>) -> Span {
    let end = floor_boundary(text, range.end.min(text.len()));
    let start = floor_boundary(text, range.start.min(end));
    Span { source, start: start as u32, end: end as u32 }
}

fn floor_boundary(text: &str, index: usize) -> usize {
    (0..=index).rev().find(|index| text.is_char_boundary(*index)).unwrap_or(0)
}

struct Converter<'a> {
    source: u32,
    text: &'a str,
    found: &'a mut Found,
}

impl Converter<'_> {
    fn table(&mut self, table: &DeTable<'_>) -> Table {
        let entries = table.iter().map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            key_at: span(self.source, self.text, key.span()),
            node: self.node(value),
        });
        Table(entries.collect())
    }

    fn node(&mut self, value: &Spanned<DeValue<'_>>) -> Node {
        let at = span(self.source, self.text, value.span());
        let value = match value.get_ref() {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => self.invalid(at, format!("{number} is too large a number"), "expected at most 64 bits"),
            },
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(number) => Value::Float(number),
                Err(_) => self.invalid(at, format!("{number} is not a number"), "expected a number"),
            },
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Datetime(date) => Value::Datetime(date.to_string()),
            DeValue::Array(values) => Value::Array(values.iter().map(|value| self.node(value)).collect()),
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Node { at, value }
    }

    fn invalid(&mut self, at: Span, message: String, label: &str) -> Value {
        self.found.push(Fault::new(at, message, label));
        Value::Invalid
    }
}
