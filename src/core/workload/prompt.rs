//! The prompt of each request, from a generator without state: the same request has the same prompt, whatever was
//! asked before.
//!
//! Each prompt is a stream of ChaCha8, whose key is (purpose, stream, probe, request) and whose counter is the
//! position in the prompt. ChaCha8 is fast, and its values are documented not to change between platforms and releases.

use rand::distr::{Distribution, Uniform};
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

use super::{Characters, Corpus, Vocabulary, WorkloadError};
use crate::protocol::PromptAsk;
use crate::units::Concurrency;

/// What a request sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// Exactly these tokens.
    Tokens(Vec<u32>),
    /// A text, which the engine makes into tokens and counts.
    Text(String),
}

/// What prompts are made from: the material of a [`crate::protocol::PromptSource`].
#[derive(Clone, Debug)]
pub enum Source {
    /// Tokens drawn at random.
    Random(Vocabulary),
    /// Real text as tokens.
    Corpus(Corpus),
    /// Real text as it is.
    Characters(Characters),
}

/// Makes the prompts of one probe.
#[derive(Clone, Debug)]
pub struct PromptMaker {
    source: Source,
    shared_prefix: u32,
    /// Tokens of a prompt past the shared prefix.
    own: u32,
    stream: u64,
    probe: u32,
}

/// What a random stream is for: two purposes never draw the same values.
#[derive(Clone, Copy)]
enum Purpose {
    Own,
    SharedPrefix,
    Lead,
}

impl PromptMaker {
    /// For a probe of this many requests in flight.
    ///
    /// # Errors
    ///
    /// Where the shared prefix is longer than the prompt, or the text too short for so many prompts.
    pub fn new(ask: &PromptAsk, source: Source, concurrency: Concurrency) -> Result<Self, WorkloadError> {
        let own = ask
            .input_tokens
            .checked_sub(ask.shared_prefix)
            .ok_or(WorkloadError::LongPrefix { shared_prefix: ask.shared_prefix, input_tokens: ask.input_tokens })?;
        let requests = concurrency.get() as usize;
        match &source {
            Source::Random(_) => {}
            Source::Corpus(corpus) => corpus.reel().at_least(requests.max(ask.input_tokens as usize))?,
            Source::Characters(text) => text.reel().at_least(requests.max(Characters::count(ask.input_tokens)))?,
        }
        Ok(Self { source, shared_prefix: ask.shared_prefix, own, stream: ask.stream, probe: ask.probe })
    }

    /// The prompt of one request, numbered from 0.
    ///
    /// Prompts of one probe differ within their first few tokens past the shared prefix, so that no block of a prefix
    /// cache serves two of them.
    ///
    /// # Errors
    ///
    /// Where the text has fewer beginnings than the probe has requests so far.
    pub fn prompt(&self, request: u32) -> Result<Prompt, WorkloadError> {
        match &self.source {
            Source::Random(vocabulary) => Ok(Prompt::Tokens(self.random(vocabulary, request))),
            Source::Corpus(corpus) => {
                corpus.reel().at_least(request as usize + 1)?;
                let shared = corpus.reel().cut(self.prefix_origin(), 0, self.shared_prefix as usize);
                let own = corpus.reel().cut(self.lead_origin(), request, self.own as usize);
                Ok(Prompt::Tokens(shared.chain(own).collect()))
            }
            Source::Characters(text) => {
                text.reel().at_least(request as usize + 1)?;
                let shared = text.reel().cut(self.prefix_origin(), 0, Characters::count(self.shared_prefix));
                let own = text.reel().cut(self.lead_origin(), request, Characters::count(self.own));
                Ok(Prompt::Text(shared.chain(own).collect()))
            }
        }
    }

    /// What all prompts of the stream begin with, alone.
    pub fn prefix(&self) -> Prompt {
        match &self.source {
            Source::Random(vocabulary) => {
                let mut tokens = Vec::with_capacity(self.shared_prefix as usize);
                draw(vocabulary, &mut self.prefix_generator(), self.shared_prefix, &mut tokens);
                Prompt::Tokens(tokens)
            }
            Source::Corpus(corpus) => {
                Prompt::Tokens(corpus.reel().cut(self.prefix_origin(), 0, self.shared_prefix as usize).collect())
            }
            Source::Characters(text) => {
                Prompt::Text(text.reel().cut(self.prefix_origin(), 0, Characters::count(self.shared_prefix)).collect())
            }
        }
    }

    fn random(&self, vocabulary: &Vocabulary, request: u32) -> Vec<u32> {
        let mut tokens = Vec::with_capacity((self.shared_prefix + self.own) as usize);
        draw(vocabulary, &mut self.prefix_generator(), self.shared_prefix, &mut tokens);
        draw(vocabulary, &mut self.generator(Purpose::Own, request), self.own, &mut tokens);
        self.distinguish(vocabulary, request, &mut tokens[self.shared_prefix as usize..]);
        tokens
    }

    /// Writes the number of the request over the first tokens, in digits of the vocabulary, lowest first, each turned
    /// by an amount of the probe's own. A vocabulary of 2,048 tokens needs one digit for the first 2,048 requests.
    fn distinguish(&self, vocabulary: &Vocabulary, request: u32, own: &mut [u32]) {
        let ids = vocabulary.ids();
        let size = ids.len() as u64;
        let mut turns = self.generator(Purpose::Lead, 0);
        let mut digits = u64::from(request);
        // As many digits as the largest number has, so that no prompt is another's with a digit less.
        let mut largest = u64::from(u32::MAX);
        for token in own {
            let turn = u64::from(turns.next_u32());
            *token = ids[((digits % size + turn) % size) as usize];
            digits /= size;
            largest /= size;
            if largest == 0 {
                break;
            }
        }
    }

    fn lead_origin(&self) -> u64 {
        self.generator(Purpose::Lead, 0).next_u64()
    }

    fn prefix_origin(&self) -> u64 {
        self.prefix_generator().next_u64()
    }

    /// The prefix is the stream's: the same in every probe and request.
    fn prefix_generator(&self) -> ChaCha8Rng {
        generator(Purpose::SharedPrefix, self.stream, 0, 0)
    }

    fn generator(&self, purpose: Purpose, request: u32) -> ChaCha8Rng {
        generator(purpose, self.stream, self.probe, request)
    }
}

fn generator(purpose: Purpose, stream: u64, probe: u32, request: u32) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&stream.to_le_bytes());
    key[8..12].copy_from_slice(&probe.to_le_bytes());
    key[12..16].copy_from_slice(&request.to_le_bytes());
    key[16] = purpose as u8;
    ChaCha8Rng::from_seed(key)
}

fn draw(vocabulary: &Vocabulary, generator: &mut ChaCha8Rng, count: u32, tokens: &mut Vec<u32>) {
    let ids = vocabulary.ids();
    let place = Uniform::new(0, ids.len() as u32).expect("a vocabulary has at least two tokens");
    tokens.extend(place.sample_iter(generator).take(count as usize).map(|place: u32| ids[place as usize]));
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::super::TextFile;
    use super::super::vocabulary::testing::letters;
    use super::*;
    use crate::protocol::PromptSource;

    fn ask(input_tokens: u32, shared_prefix: u32, stream: u64, probe: u32) -> PromptAsk {
        PromptAsk { source: PromptSource::Random, input_tokens, shared_prefix, stream, probe }
    }

    fn random(size: u32, ask: &PromptAsk) -> PromptMaker {
        let source = Source::Random(Vocabulary::new(10..10 + size).unwrap());
        PromptMaker::new(ask, source, Concurrency::ONE).unwrap()
    }

    fn tokens(maker: &PromptMaker, request: u32) -> Vec<u32> {
        match maker.prompt(request).unwrap() {
            Prompt::Tokens(tokens) => tokens,
            Prompt::Text(text) => panic!("text: {text}"),
        }
    }

    fn text() -> Vec<TextFile> {
        let text = (0..400_u32).map(|n| format!("{} is not {}. ", n * 7919 % 1009, n * 104_729 % 997)).collect();
        vec![TextFile { path: "texts/a.txt".into(), text }]
    }

    proptest! {
        #[test]
        fn a_random_prompt_has_its_length_and_only_tokens_of_the_vocabulary(
            size in 2_u32..3000, input in 1_u32..600, shared in 0_u32..100, stream: u64, probe: u32, request: u32,
        ) {
            let ask = ask(input, shared.min(input), stream, probe);
            let maker = random(size, &ask);
            let tokens = tokens(&maker, request);
            prop_assert_eq!(tokens.len(), input as usize);
            prop_assert!(tokens.iter().all(|id| (10..10 + size).contains(id)));
        }

        #[test]
        fn no_two_requests_of_a_probe_share_a_block(size in 2_u32..300, stream: u64, probe: u32, first: u32) {
            let maker = random(size, &ask(64, 0, stream, probe));
            let requests = first..first.saturating_add(600);
            let count = requests.len();
            // Vocabularies of a dozen tokens and more differ within the smallest block in use, 16 tokens.
            let block = if size < 12 { 32 } else { 16 };
            let blocks: HashSet<_> = requests.map(|request| tokens(&maker, request)[..block].to_vec()).collect();
            prop_assert_eq!(blocks.len(), count);
        }
    }

    #[test]
    fn the_first_token_differs_as_long_as_the_vocabulary_lasts() {
        let maker = random(2048, &ask(512, 0, 7, 3));
        let firsts: HashSet<_> = (0..2048).map(|request| tokens(&maker, request)[0]).collect();
        assert_eq!(firsts.len(), 2048);
    }

    #[test]
    fn a_prompt_depends_on_stream_probe_and_request_alone() {
        let prompt = |stream, probe, request| tokens(&random(500, &ask(40, 0, stream, probe)), request);
        assert_eq!(prompt(1, 2, 3), prompt(1, 2, 3));
        let different: HashSet<_> = [prompt(1, 2, 3), prompt(2, 2, 3), prompt(1, 3, 3), prompt(1, 2, 4)].into();
        assert_eq!(different.len(), 4);
        // Written down once: a run that is resumed by a later version must send what the earlier one would have.
        assert_eq!(prompt(1, 2, 3)[..8], [362, 63, 151, 29, 128, 232, 463, 488]);
    }

    #[test]
    #[cfg_attr(debug_assertions, ignore = "a figure of optimised code")]
    fn ten_million_tokens_take_a_second_at_most() {
        let maker = random(128_000, &ask(5000, 0, 5, 0));
        let begin = std::time::Instant::now();
        let made: usize = (0..2000).map(|request| tokens(&maker, request).len()).sum();
        let took = begin.elapsed();
        assert_eq!(made, 10_000_000);
        println!("10,000,000 random tokens: {took:?}");
        assert!(took.as_secs_f64() <= 1.0, "{took:?}");
    }

    #[test]
    fn random_tokens_are_spread_evenly() {
        let maker = random(10, &ask(100_000, 0, 5, 0));
        let mut counts = [0_u32; 10];
        for id in tokens(&maker, 0) {
            counts[id as usize - 10] += 1;
        }
        // 10,000 expected; the standard deviation is 95.
        assert!(counts.iter().all(|count| (9500..10_500).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_shared_prefix_is_the_same_in_every_prompt_of_the_stream() {
        let corpus = Source::Corpus(Corpus::new(&text(), &letters()).unwrap());
        for source in [Source::Random(Vocabulary::new(0..90).unwrap()), corpus] {
            let maker = |probe| PromptMaker::new(&ask(100, 32, 1, probe), source.clone(), Concurrency::ONE).unwrap();
            let (one, other, later) = (tokens(&maker(0), 0), tokens(&maker(0), 1), tokens(&maker(1), 1));
            assert_eq!(one.len(), 100);
            assert_eq!(one[..32], other[..32]);
            assert_eq!(one[..32], later[..32]);
            assert_eq!(maker(0).prefix(), Prompt::Tokens(one[..32].to_vec()));
            assert_ne!(one[32..48], other[32..48]);
            assert_ne!(other[32..], later[32..]);
        }
    }

    #[test]
    fn a_prefix_longer_than_the_prompt_is_refused() {
        let source = Source::Random(Vocabulary::new(0..90).unwrap());
        let error = PromptMaker::new(&ask(10, 11, 1, 0), source, Concurrency::ONE).unwrap_err();
        assert_eq!(error.to_string(), "shared_prefix = 11 is longer than input_tokens = 10: make it shorter");
    }

    #[test]
    fn text_is_cut_to_length_from_distinct_beginnings() {
        let concurrency = Concurrency::new(500).unwrap();
        let corpus = Source::Corpus(Corpus::new(&text(), &letters()).unwrap());
        let maker = PromptMaker::new(&ask(200, 0, 1, 0), corpus, concurrency).unwrap();
        let prompts: Vec<_> = (0..500).map(|request| tokens(&maker, request)).collect();
        assert!(prompts.iter().all(|prompt| prompt.len() == 200));
        assert_eq!(prompts.iter().collect::<HashSet<_>>().len(), 500);

        let characters = Source::Characters(Characters::new(&text()));
        let maker = PromptMaker::new(&ask(200, 0, 1, 0), characters, concurrency).unwrap();
        let Prompt::Text(text) = maker.prompt(3).unwrap() else { panic!("not a text") };
        assert_eq!(text.chars().count(), 800);
    }

    #[test]
    fn a_corpus_without_enough_beginnings_is_refused() {
        let files = [TextFile { path: "texts/short.txt".into(), text: "short".into() }];
        let corpus = || Source::Corpus(Corpus::new(&files, &letters()).unwrap());
        let made = |concurrency| PromptMaker::new(&ask(4, 0, 1, 0), corpus(), Concurrency::new(concurrency).unwrap());
        let error = made(6).unwrap_err();
        assert!(error.to_string().starts_with("texts/short.txt: 5 tokens, but 6 are needed"), "{error}");
        let maker = made(5).unwrap();
        assert!(maker.prompt(4).is_ok());
        assert!(maker.prompt(5).is_err());
    }
}
