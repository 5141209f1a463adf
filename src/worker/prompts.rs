//! The material of prompts: reads files once and keeps what they hold.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use ceiling_core::protocol::{EngineError, EngineErrorKind, PromptAsk, PromptSource};
use ceiling_core::units::Concurrency;
use ceiling_core::workload::{
    Characters, Corpus, PromptMaker, Source, TextFile, TextTokenizer, Vocabulary, WorkloadError,
};

/// Makes prompts for the model that is loaded.
pub struct Prompts {
    vocabulary: Vocabulary,
    /// Absent where the model has no `tokenizer.json`.
    tokenizer: Option<TextTokenizer>,
    sources: HashMap<PromptSource, Source>,
}

impl Prompts {
    /// With the vocabulary of a `tokenizer.json`, limited to the rows of the model's embedding.
    pub fn of_file(path: &Path, model_size: u32) -> Result<Self, EngineError> {
        let tokenizer = TextTokenizer::from_json(path, &read(path)?).map_err(refuse)?;
        let vocabulary = tokenizer.vocabulary(model_size).map_err(refuse)?;
        Ok(Self { vocabulary, tokenizer: Some(tokenizer), sources: HashMap::new() })
    }

    /// With ids that vLLM's own tokenizer named.
    pub fn of_ids(ids: Vec<u32>) -> Result<Self, EngineError> {
        Ok(Self { vocabulary: Vocabulary::new(ids).map_err(refuse)?, tokenizer: None, sources: HashMap::new() })
    }

    /// Makes the prompts of a probe of so many requests in flight.
    pub fn maker(&mut self, ask: &PromptAsk, concurrency: Concurrency) -> Result<PromptMaker, EngineError> {
        PromptMaker::new(ask, self.source(&ask.source)?, concurrency).map_err(refuse)
    }

    fn source(&mut self, source: &PromptSource) -> Result<Source, EngineError> {
        if let Some(known) = self.sources.get(source) {
            return Ok(known.clone());
        }
        let made = match source {
            PromptSource::Random => Source::Random(self.vocabulary.clone()),
            PromptSource::Corpus(files) => Source::Corpus(self.corpus(files)?),
            PromptSource::Characters(files) => Source::Characters(Characters::new(&read_all(files)?)),
        };
        self.sources.insert(source.clone(), made.clone());
        Ok(made)
    }

    fn corpus(&self, files: &[PathBuf]) -> Result<Corpus, EngineError> {
        let Some(tokenizer) = &self.tokenizer else {
            return Err(arguments(
                "prompt = { corpus = … } needs a tokenizer.json, and the model has none: use { characters = … }".into(),
            ));
        };
        Corpus::new(&read_all(files)?, tokenizer).map_err(refuse)
    }
}

/// A workload that cannot be made is the experiment's fault.
pub fn refuse(error: WorkloadError) -> EngineError {
    arguments(error.to_string())
}

fn arguments(message: String) -> EngineError {
    EngineError { kind: EngineErrorKind::Arguments, message }
}

fn read_all(files: &[PathBuf]) -> Result<Vec<TextFile>, EngineError> {
    files.iter().map(|path| Ok(TextFile { path: path.clone(), text: read(path)? })).collect()
}

fn read(path: &Path) -> Result<String, EngineError> {
    std::fs::read_to_string(path)
        .map_err(|error| arguments(format!("{}: {error}: is it there, readable and UTF-8?", path.display())))
}
