//! What the requests of a probe ask: prompts of exactly the length that the experiment names.
//!
//! ```text
//! tokenizer.json -> vocabulary ─┐
//! text files     -> corpus     ─┴> prompt: (stream, probe, request) -> tokens or text
//! ```
//!
//! Files are read elsewhere: text comes in as arguments.

mod corpus;
mod prompt;
mod vocabulary;

use std::path::PathBuf;

pub use corpus::{Characters, Corpus, TextFile};
pub use prompt::{Prompt, PromptMaker, Source};
pub use vocabulary::{TextTokenizer, Vocabulary};

/// Why prompts cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkloadError {
    /// A tokenizer file that the tokenizers library does not read.
    #[error("{}: not a tokenizer: {reason}; use the `tokenizer.json` that belongs to the model", file.display())]
    BadTokenizer {
        /// The file.
        file: PathBuf,
        /// What the library says.
        reason: String,
    },
    /// A vocabulary in which there is nothing to choose from.
    #[error(
        "the vocabulary has {usable} tokens that are not special ones; prompts need at least 2: \
         is it the tokenizer of this model?"
    )]
    SmallVocabulary {
        /// Tokens that may be in a prompt.
        usable: usize,
    },
    /// A text that the tokenizer does not take.
    #[error("{}: cannot be made into tokens: {reason}", file.display())]
    Untokenizable {
        /// The file.
        file: PathBuf,
        /// What the library says.
        reason: String,
    },
    /// Too little text for every request to begin at a place of its own.
    #[error(
        "{}: {found} {unit}, but {needed} are needed so that each prompt has its length and a beginning of its own: \
         add text",
        .files.join(", ")
    )]
    ShortText {
        /// The files.
        files: Vec<String>,
        /// What there is.
        found: usize,
        /// What the probe needs.
        needed: usize,
        /// What is counted: `tokens` or `characters`.
        unit: &'static str,
    },
    /// A shared prefix longer than the prompt.
    #[error("shared_prefix = {shared_prefix} is longer than input_tokens = {input_tokens}: make it shorter")]
    LongPrefix {
        /// Tokens that all prompts begin with.
        shared_prefix: u32,
        /// Tokens of each prompt.
        input_tokens: u32,
    },
}
