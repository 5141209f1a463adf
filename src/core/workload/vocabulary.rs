//! The tokens that a random prompt is made of, and the tokenizer that real text needs.

use std::path::Path;
use std::sync::Arc;

use tokenizers::Tokenizer;

use super::WorkloadError;
use super::corpus::TextFile;

/// The ids that may be in a random prompt: at least two, ascending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary(Arc<[u32]>);

impl Vocabulary {
    /// A vocabulary of these ids.
    ///
    /// # Errors
    ///
    /// Where there are fewer than two of them.
    pub fn new(ids: impl IntoIterator<Item = u32>) -> Result<Self, WorkloadError> {
        let mut ids: Vec<u32> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() < 2 {
            return Err(WorkloadError::SmallVocabulary { usable: ids.len() });
        }
        Ok(Self(ids.into()))
    }

    /// The ids, ascending.
    pub fn ids(&self) -> &[u32] {
        &self.0
    }
}

/// A tokenizer as the `tokenizers` library reads it.
#[derive(Debug)]
pub struct TextTokenizer(Tokenizer);

impl TextTokenizer {
    /// Reads the text of a `tokenizer.json`; `file` is where it came from.
    ///
    /// # Errors
    ///
    /// Where the library does not read it.
    pub fn from_json(file: &Path, json: &str) -> Result<Self, WorkloadError> {
        let bad =
            |reason: tokenizers::Error| WorkloadError::BadTokenizer { file: file.into(), reason: reason.to_string() };
        let mut tokenizer = Tokenizer::from_bytes(json).map_err(bad)?;
        // A tokenizer.json may ask for both; a prompt is cut here.
        tokenizer.with_truncation(None).map_err(bad)?;
        tokenizer.with_padding(None);
        Ok(Self(tokenizer))
    }

    /// The ids below `model_size` (rows of the model's embedding) that are neither special nor added tokens.
    ///
    /// Added tokens are left out, special or not: they mark turns, tools and images, which plain text does not have.
    ///
    /// # Errors
    ///
    /// Where fewer than two are left.
    pub fn vocabulary(&self, model_size: u32) -> Result<Vocabulary, WorkloadError> {
        let added = self.0.get_added_tokens_decoder();
        let ids = self.0.get_vocab(false).into_values();
        Vocabulary::new(ids.filter(|id| *id < model_size && !added.contains_key(id)))
    }

    /// The tokens of a text, without the special tokens that a model's template would add.
    ///
    /// # Errors
    ///
    /// Where the library does not take the text.
    pub fn encode(&self, file: &TextFile) -> Result<Vec<u32>, WorkloadError> {
        let encoding = self
            .0
            .encode_fast(file.text.as_str(), false)
            .map_err(|reason| WorkloadError::Untokenizable { file: file.path.clone(), reason: reason.to_string() })?;
        Ok(encoding.get_ids().to_vec())
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// A tokenizer of 260 tokens: one a letter or punctuation mark, special ones first.
    pub fn letters() -> TextTokenizer {
        let vocab: serde_json::Map<_, _> = ["<s>", "</s>", "<unk>"]
            .into_iter()
            .map(str::to_owned)
            .chain((' '..='~').map(String::from))
            .enumerate()
            .map(|(id, token)| (token, id.into()))
            .collect();
        let special = |id: u32, content: &str| {
            serde_json::json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true})
        };
        let json = serde_json::json!({
            "version": "1.0",
            "truncation": {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0},
            "added_tokens": [special(0, "<s>"), special(1, "</s>"), special(2, "<unk>"), special(200, "<tool>")],
            "model": {"type": "BPE", "vocab": vocab, "merges": [], "unk_token": "<unk>"},
        });
        TextTokenizer::from_json(Path::new("tokenizer.json"), &json.to_string()).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_and_added_tokens_are_not_in_the_vocabulary() {
        let vocabulary = testing::letters().vocabulary(1000).unwrap();
        assert_eq!(vocabulary.ids(), (3..98).collect::<Vec<u32>>());
    }

    #[test]
    fn a_model_smaller_than_its_tokenizer_limits_the_vocabulary() {
        assert_eq!(testing::letters().vocabulary(10).unwrap().ids(), [3, 4, 5, 6, 7, 8, 9]);
        let error = testing::letters().vocabulary(4).unwrap_err();
        assert_eq!(error, WorkloadError::SmallVocabulary { usable: 1 });
    }

    #[test]
    fn a_text_is_neither_cut_nor_padded_nor_dressed() {
        let file = TextFile { path: "a.txt".into(), text: "twenty letters, more".into() };
        let tokens = testing::letters().encode(&file).unwrap();
        assert_eq!(tokens.len(), 20);
        assert!(tokens.iter().all(|id| *id > 2));
    }

    #[test]
    fn a_broken_tokenizer_is_named() {
        let error = TextTokenizer::from_json(Path::new("m/tokenizer.json"), "{}").unwrap_err();
        assert!(error.to_string().starts_with("m/tokenizer.json: not a tokenizer: "), "{error}");
    }
}
