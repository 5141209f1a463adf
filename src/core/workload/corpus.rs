//! Real text as prompts: cut to length, every request from a beginning of its own.

use std::path::PathBuf;
use std::sync::Arc;

use super::WorkloadError;
use super::vocabulary::TextTokenizer;

/// A text file that somebody read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextFile {
    /// Where it lies.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

/// The tokens of some files, one after the other.
#[derive(Clone, Debug)]
pub struct Corpus(Reel<u32>);

/// The characters of some files, one after the other.
#[derive(Clone, Debug)]
pub struct Characters(Reel<char>);

/// Characters that stand for one token where no tokenizer is at hand: the usual rule of thumb for English.
const CHARACTERS_PER_TOKEN: usize = 4;

impl Corpus {
    /// Makes each file into tokens, once.
    ///
    /// # Errors
    ///
    /// Where the tokenizer does not take a text.
    pub fn new(files: &[TextFile], tokenizer: &TextTokenizer) -> Result<Self, WorkloadError> {
        let mut items = Vec::new();
        for file in files {
            items.extend(tokenizer.encode(file)?);
        }
        Ok(Self(Reel::new(files, items, "tokens")))
    }

    pub(super) fn reel(&self) -> &Reel<u32> {
        &self.0
    }
}

impl Characters {
    /// Takes the text of the files as it is.
    pub fn new(files: &[TextFile]) -> Self {
        let items = files.iter().flat_map(|file| file.text.chars()).collect();
        Self(Reel::new(files, items, "characters"))
    }

    /// Characters of a prompt of so many tokens.
    pub(super) fn count(tokens: u32) -> usize {
        tokens as usize * CHARACTERS_PER_TOKEN
    }

    pub(super) fn reel(&self) -> &Reel<char> {
        &self.0
    }
}

/// Text without an end: what comes after its last item is its first.
#[derive(Clone, Debug)]
pub(super) struct Reel<T> {
    files: Arc<[String]>,
    items: Arc<[T]>,
    unit: &'static str,
    /// Distance between the beginnings of two successive requests.
    stride: usize,
}

impl<T: Copy> Reel<T> {
    fn new(files: &[TextFile], items: Vec<T>, unit: &'static str) -> Self {
        let files = files.iter().map(|file| file.path.display().to_string()).collect();
        let stride = stride(items.len());
        Self { files, items: items.into(), unit, stride }
    }

    /// Fails where there is less than `needed` of it.
    pub fn at_least(&self, needed: usize) -> Result<(), WorkloadError> {
        if self.items.len() >= needed.max(1) {
            return Ok(());
        }
        Err(WorkloadError::ShortText {
            files: self.files.to_vec(),
            found: self.items.len(),
            needed: needed.max(1),
            unit: self.unit,
        })
    }

    /// `count` items for one of the requests that share the `origin`, each from a beginning of its own.
    pub fn cut(&self, origin: u64, request: u32, count: usize) -> impl Iterator<Item = T> + '_ {
        let length = self.items.len() as u128;
        let start = (u128::from(origin) + u128::from(request) * self.stride as u128) % length.max(1);
        self.items.iter().copied().cycle().skip(start as usize).take(count)
    }
}

/// A step that visits each of `length` places once before it returns to the first, and spreads the first few widely:
/// the number without a common divisor that is next to `length` divided by the golden ratio.
fn stride(length: usize) -> usize {
    let golden = (length as f64 * 0.618_033_988_749_894_9) as usize;
    (golden.max(1)..).find(|step| gcd(*step, length) == 1).unwrap_or(1)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use proptest::prelude::*;

    fn file(text: &str) -> TextFile {
        TextFile { path: "texts/a.txt".into(), text: text.to_owned() }
    }

    #[test]
    fn a_cut_goes_on_at_the_beginning_where_the_text_ends() {
        let characters = Characters::new(&[file("abc"), file("de")]);
        assert_eq!(characters.reel().cut(3, 0, 7).collect::<String>(), "deabcde");
    }

    #[test]
    fn too_short_a_text_says_what_is_needed() {
        let error = Characters::new(&[file("abc"), file("")]).reel().at_least(10).unwrap_err();
        assert_eq!(
            error.to_string(),
            "texts/a.txt, texts/a.txt: 3 characters, but 10 are needed so that each prompt has its length and a \
             beginning of its own: add text"
        );
        assert!(Characters::new(&[]).reel().at_least(0).is_err());
    }

    proptest! {
        #[test]
        fn every_request_begins_at_a_place_of_its_own(length in 1_usize..3000, origin: u64) {
            let reel = Reel::new(&[], (0..length).collect(), "tokens");
            let starts: HashSet<_> = (0..length as u32).filter_map(|request| reel.cut(origin, request, 1).next()).collect();
            prop_assert_eq!(starts.len(), length);
        }
    }
}
