//! Reads a `run.json` piece by piece: the whole may have hundreds of megabytes, and room in memory for them takes the system
//! about as long as understanding them takes.

use std::io::Read;

use anyhow::{Result, bail};
use ceiling_core::record::Run;
use serde::de::DeserializeOwned;
use serde_json::{Deserializer, Map, Value, json};

/// Bytes that are read together: many records, and few enough for a processor's cache.
const AT_ONCE: usize = 1 << 20;

/// The run that this text is, with as much of its probes as `P` takes.
pub fn read<P: DeserializeOwned>(text: impl Read) -> Result<Run<P>> {
    Text::new(text, AT_ONCE).run()
}

/// A text of which a part is in memory.
struct Text<R> {
    source: R,
    /// Bytes that are read together.
    at_once: usize,
    part: String,
    /// Bytes of the part that were taken.
    taken: usize,
    /// Bytes behind the part: of a character that was cut, or from the first on that is none.
    torn: Vec<u8>,
    /// Whether the part ends where the text does.
    is_last: bool,
}

impl<R: Read> Text<R> {
    fn new(source: R, at_once: usize) -> Self {
        Self { source, at_once, part: String::new(), taken: 0, torn: Vec::new(), is_last: false }
    }

    fn run<P: DeserializeOwned>(mut self) -> Result<Run<P>> {
        let mut head = Map::new();
        let (mut engines, mut ladders, mut cells) = (Vec::new(), Vec::new(), Vec::new());
        self.items(b'{', b'}', |text| {
            let name: String = text.value()?;
            text.expect(b':')?;
            match &*name {
                "engines" => engines = text.list()?,
                "ladders" => ladders = text.list()?,
                "cells" => cells = text.list()?,
                _ => {
                    head.insert(name, text.value()?);
                    return Ok(());
                }
            }
            // The type of a run says what else it has, and that it has these.
            head.insert(name, json!([]));
            Ok(())
        })?;
        self.end()?;
        let run: Run<P> = serde_json::from_value(Value::Object(head))?;
        Ok(Run { engines, ladders, cells, ..run })
    }

    /// Forgets what was taken and reads on; what is left is at least doubled, so that a large value is not begun too often.
    fn read_on(&mut self) -> Result<()> {
        let mut part = std::mem::take(&mut self.part).into_bytes();
        part.drain(..self.taken);
        self.taken = 0;
        part.append(&mut self.torn);
        let wanted = self.at_once.max(part.len());
        part.reserve(wanted);
        let read = self.source.by_ref().take(wanted as u64).read_to_end(&mut part)?;
        self.is_last = read < wanted;
        // Strings are known to be UTF-8 then, which is faster than to look at each for itself.
        self.part = String::from_utf8(part).or_else(|error| {
            let valid = error.utf8_error().valid_up_to();
            let mut part = error.into_bytes();
            self.torn = part.split_off(valid);
            String::from_utf8(part)
        })?;
        Ok(())
    }

    /// Takes a value.
    fn value<T: DeserializeOwned>(&mut self) -> Result<T> {
        loop {
            let mut values = Deserializer::from_str(&self.part[self.taken..]).into_iter();
            let value = values.next();
            let end = self.taken + values.byte_offset();
            match value {
                // A number that ends with the part may go on in the next.
                Some(Ok(value)) if end < self.part.len() || self.is_last => {
                    self.taken = end;
                    return Ok(value);
                }
                Some(Err(error)) if self.is_last => return Err(error.into()),
                None if self.is_last => bail!("the text ends where a value was expected"),
                // Whether it is wrong or only cut off shows at the latest when all of it is there.
                _ => self.read_on()?,
            }
        }
    }

    /// Takes what stands between two brackets, with commas between the items.
    fn items(&mut self, open: u8, close: u8, mut item: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.expect(open)?;
        if self.peek()? != Some(close) {
            item(self)?;
            while self.peek()? == Some(b',') {
                self.taken += 1;
                item(self)?;
            }
        }
        self.expect(close)
    }

    fn list<T: DeserializeOwned>(&mut self) -> Result<Vec<T>> {
        let mut all = Vec::new();
        self.items(b'[', b']', |text| {
            all.push(text.value()?);
            Ok(())
        })?;
        Ok(all)
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        if self.peek()? != Some(byte) {
            bail!("`{}` was expected", char::from(byte));
        }
        self.taken += 1;
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        if self.peek()?.is_some() || !self.torn.is_empty() {
            bail!("the text goes on behind its value");
        }
        Ok(())
    }

    /// The next byte that is no space.
    fn peek(&mut self) -> Result<Option<u8>> {
        loop {
            let spaces = self.part.as_bytes()[self.taken..].iter();
            self.taken += spaces.take_while(|byte| b" \n\r\t".contains(byte)).count();
            match self.part.as_bytes().get(self.taken) {
                Some(byte) => return Ok(Some(*byte)),
                None if self.is_last => return Ok(None),
                None => self.read_on()?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ceiling_core::compare::ComparedRun;
    use ceiling_core::record::ProbeRecord;
    use serde::de::IgnoredAny;

    use super::*;
    use crate::report::{json, testing};

    #[test]
    fn a_run_in_pieces_is_the_same_run() {
        let run = testing::run();
        let texts = [json::render(&run).unwrap(), serde_json::to_string(&run).unwrap()];
        for (text, at_once) in texts.iter().flat_map(|text| [1, 100, AT_ONCE].map(|at_once| (text, at_once))) {
            assert_eq!(Text::new(text.as_bytes(), at_once).run::<ProbeRecord>().unwrap(), run);
            let compared: ComparedRun = serde_json::from_str(text).unwrap();
            assert_eq!(Text::new(text.as_bytes(), at_once).run().unwrap(), compared);
        }
    }

    #[test]
    fn pieces_of_any_size_make_the_same_values() {
        let text = r#" {"a": [12, -3.5e1 , "\u00e4\"]ä"], "b":[ ], "c":[{"d":[1,2]}, null,true]} "#;
        for at_once in 1..text.len() + 2 {
            let mut values: Vec<(String, Vec<Value>)> = Vec::new();
            let mut text = Text::new(text.as_bytes(), at_once);
            text.items(b'{', b'}', |text| {
                let name = text.value()?;
                text.expect(b':')?;
                values.push((name, text.list()?));
                Ok(())
            })
            .unwrap();
            text.end().unwrap();
            let expected = json!([["a", [12, -35.0, "ä\"]ä"]], ["b", []], ["c", [{ "d": [1, 2] }, null, true]]]);
            assert_eq!(json!(values), expected, "{at_once}");
        }
    }

    #[test]
    fn what_is_no_run_is_none_in_pieces_either() {
        let good = json::render(&testing::run()).unwrap();
        let table = [
            String::new(),
            "[]".to_owned(),
            "[".repeat(10_000),
            good[..good.len() / 2].to_owned(),
            good.trim_end().trim_end_matches('}').to_owned(),
            good.clone() + "}",
            good.replacen(':', "", 1),
            good.replacen("\"cells\": [", "\"cellar\": [", 2),
            good.replacen("\"ladders\": [", "\"ladders\": [,", 1),
        ];
        for text in table {
            assert!(read::<IgnoredAny>(text.as_bytes()).is_err(), "{}", &text[..text.len().min(99)]);
        }
        let no_text = [good.as_bytes(), b"\xff"].concat();
        assert!(read::<IgnoredAny>(&*no_text).is_err());
    }
}
